"""``python -m recipes`` is ``lightning``."""

from recipes.launcher.cli import main

if __name__ == "__main__":
    main()
