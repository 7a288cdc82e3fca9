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
    logger = (content.get("trainer") or {}).get("logger")
    nodes = [one for one in (logger if isinstance(logger, list) else [logger]) if isinstance(one, dict)]
    node = next((one for one in nodes if str(one.get("class_path")).endswith(BufferedMLFlowLogger.__name__)), None)
    if node is None:
        raise ValueError(f"{recipe}: trainer.logger is no {BufferedMLFlowLogger.__name__}, so nothing waits to be sent")
    given = {"run_dir": run, "system_metrics_every_s": None} | (
        {} if tracking_uri is None else {"tracking_uri": tracking_uri}
    )
    mlflow = BufferedMLFlowLogger(**{**node["init_args"], **given})
    mlflow.start()
    if (lacking := mlflow.close(patience_s=60.0)) is not None:
        raise ValueError(lacking)
    return f"MLflow at {mlflow.tracking_uri} has all that {run} has logged"
