"""A database of MLflow's, made once for the tests of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from callbacks.tracking.mlflow_database import make_whole


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A whole database: making one takes seconds."""
    path = tmp_path_factory.mktemp("made") / "mlflow.db"
    make_whole(path)
    return path
