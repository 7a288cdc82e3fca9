"""What a checkpoint of a training holds: the parameters that are trained, and the temperature of the sampler.

The frozen parts come from their own files.
"""

from __future__ import annotations

from typing import Any

from modules.checkpoints.checkpoint_files import refuse_nonfinite
from modules.checkpoints.weights import refuse_other


def keep_trained(module: Any, checkpoint: dict[str, Any]) -> None:
    """Leaves in a checkpoint what is trained; all ranks ask together, of which one will write.

    Args:
        module: with a ``sampler``.
        checkpoint: as Lightning has made it.

    Raises:
        ValueError: a weight is no longer finite.
    """
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    if "state_dict" in checkpoint:  # DeepSpeed writes its own
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
    temperature = getattr(module.sampler, "temperature", None)
    # plain: a restricted type of a constructor, such as PositiveFloat, would keep the file from being read again
    checkpoint["temperature"] = None if temperature is None else float(temperature)
    refuse_nonfinite(checkpoint)


def take_trained(module: Any, checkpoint: dict[str, Any]) -> None:
    """Sees that a checkpoint is of this module, and takes the temperature; Lightning takes the parameters.

    Args:
        module: with a ``sampler``.
        checkpoint: of `keep_trained`.

    Raises:
        ValueError: it is of another sampler, or has what this module has not.
    """
    if "state_dict" in checkpoint:
        own = dict(module.named_parameters(remove_duplicate=False))
        trained = [name for name, p in module.named_parameters() if p.requires_grad]
        refuse_other(checkpoint, own, trained, type(module.sampler).__name__)
    if checkpoint.get("temperature") is not None:
        module.sampler.temperature = checkpoint["temperature"]
