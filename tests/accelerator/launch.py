"""The project's command in a process that has the phantom accelerator.

python tests/accelerator/launch.py run recipes/tspo.yaml --overlay tests/accelerator/phantom.yaml
"""

from __future__ import annotations

import sys

import phantom

from recipes.launcher.cli import main

if __name__ == "__main__":
    phantom.register()
    main(sys.argv[1:])
