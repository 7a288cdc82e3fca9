"""The weights that come with the project are those that their card names, and finite."""

from __future__ import annotations

import hashlib
import re

from safetensors.torch import load_file

from modules.checkpoints.finite import not_finite
from recipes.launcher.guard import ROOT

WEIGHTS = ROOT / "recipes" / "haystack" / "weights"


def test_every_shipped_file_is_the_one_on_the_card() -> None:
    named = dict(re.findall(r"\| `(\S+\.safetensors)` \| `([0-9a-f]{64})` \|", (WEIGHTS / "README.md").read_text()))
    files = {str(path.relative_to(WEIGHTS)): path for path in WEIGHTS.rglob("*.safetensors")}
    assert named.keys() == files.keys()
    for name, path in files.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == named[name], name
        assert not_finite(load_file(path).items()) is None


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 8_000_000
