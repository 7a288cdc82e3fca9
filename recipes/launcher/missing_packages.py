"""Packages that a recipe's loggers need and that Kairos does not bring: whether they are installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

_NEEDED = {
    "BufferedMLFlowLogger": ("mlflow", "mlflow"),
    "CometLogger": ("comet_ml", "comet-ml"),
    "MLFlowLogger": ("mlflow", "mlflow"),
    "NeptuneLogger": ("neptune", "neptune"),
    "RunTensorBoardLogger": ("tensorboard", "tensorboard"),
    "RunWandbLogger": ("wandb", "wandb"),
    "TensorBoardLogger": ("tensorboard", "tensorboard"),
    "WandbLogger": ("wandb", "wandb"),
}
"""A logger's class, the module that it imports, and the package that has the module."""


def missing_packages(recipe: dict[str, Any]) -> list[str]:
    """What the loggers of a recipe need and is not installed here, as ``key: what is wrong``."""
    trainer = recipe.get("trainer")
    logger = trainer.get("logger") if isinstance(trainer, dict) else None
    nodes = logger if isinstance(logger, list) else [logger]
    found = []
    for number, node in enumerate(nodes):
        path = node.get("class_path") if isinstance(node, dict) else node
        name = path.rpartition(".")[2] if isinstance(path, str) else ""
        module, package = _NEEDED.get(name, ("", ""))
        if module and find_spec(module) is None:
            key = f"trainer.logger.{number}" if isinstance(logger, list) else "trainer.logger"
            found.append(f"{key}: {name} needs the package {package}, which is not installed: pip install {package}")
    return found
