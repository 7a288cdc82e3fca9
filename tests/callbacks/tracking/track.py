"""A run as far as MLflow is concerned, without a training: logs metrics and a file, then says what MLflow lacks.

python track.py RUN_DIR TRACKING_URI [--steps N]
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from callbacks.tracking.mlflow_logger import BufferedMLFlowLogger


def track(run_dir: Path, tracking_uri: str, steps: int, patience_s: float) -> str:
    """What the logger says at the end, or that all is there."""
    logger = BufferedMLFlowLogger(
        run_dir=str(run_dir), tracking_uri=tracking_uri, artifact_location=str(run_dir.parent)
    )
    for step in range(1, steps + 1):
        logger.log_metrics({"reward/total": step / 10, "policy/entropy_nats": 1.0}, step)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "curve.csv").write_text("step\n")
    logger.log_file(run_dir / "curve.csv")
    logger.finalize("success")
    return logger.close(patience_s) or "all is there"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("tracking_uri")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--patience", type=float, default=60.0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    print(track(options.run_dir, options.tracking_uri, options.steps, options.patience))
