"""The project's packages have generic names; this makes sure they are ours before anything is built."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

OWN_PACKAGES = ("modules", "datamodules", "callbacks")
ROOT = Path(__file__).resolve().parents[2]


def shadowed(packages: tuple[str, ...] = OWN_PACKAGES) -> list[str]:
    """One line for each package that does not resolve beside ``recipes``."""
    problems = []
    for name in packages:
        spec = importlib.util.find_spec(name)
        found = None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent
        if found != ROOT / name:
            where = "nowhere" if found is None else f"in {found}"
            problems.append(f"package {name!r} is found {where}, but Kairos' own is {ROOT / name}")
    return problems


def guard() -> None:
    """Exits with an explanation if a foreign folder shadows a package of ours."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    problems = shadowed()
    if problems:
        sys.exit(
            "\n".join(problems)
            + "\nA folder of that name in the working directory or on PYTHONPATH comes first. Start from another "
            "directory, or take it off PYTHONPATH."
        )
