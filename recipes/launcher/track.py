"""``lightning track RUN_DIR``: sends MLflow what a run has logged and MLflow did not take at that time."""

from __future__ import annotations

import argparse
from pathlib import Path

from callbacks.tracking.mlflow_logger import BufferedMLFlowLogger
from recipes.launcher.reading import read_file


def track_command(options: argparse.Namespace) -> str:
    """``lightning track RUN``."""
    return track(options.run, options.tracking_uri)


def track(run: str, tracking_uri: str | None = None) -> str:
    """What to say about it.

    Args:
        run: folder of the run, which says in its ``recipe.yaml`` where it is tracked.
        tracking_uri: another place.

    Raises:
        ValueError: no such run, its recipe tracks nothing, or MLflow still takes nothing.
    """
    recipe = Path(run) / "recipe.yaml"
    if not recipe.is_file():
        raise ValueError(f"there is no {recipe} to say where the run is tracked")
    content = read_file(recipe)
    assert isinstance(content, dict)
    node = (content.get("trainer") or {}).get("logger") or {}
    if not isinstance(node, dict) or not str(node.get("class_path")).endswith(BufferedMLFlowLogger.__name__):
        raise ValueError(f"{recipe}: trainer.logger is no {BufferedMLFlowLogger.__name__}, so nothing waits to be sent")
    given = {"run_dir": run} | ({} if tracking_uri is None else {"tracking_uri": tracking_uri})
    logger = BufferedMLFlowLogger(**{**node["init_args"], **given})
    logger.start()
    if (lacking := logger.close(patience_s=60.0)) is not None:
        raise ValueError(lacking)
    return f"MLflow at {logger.tracking_uri} has all that {run} has logged"
