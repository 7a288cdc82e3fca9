"""Files that the tests of memories share."""

from __future__ import annotations

import pytest
from memory_parts import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory, short_world, blank_vlm) -> Stack:
    return Stack(tmp_path_factory.mktemp("streaming"), short_world, blank_vlm)
