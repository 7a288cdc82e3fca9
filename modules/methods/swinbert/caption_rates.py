"""How fast the parts of a captioner learn, beside `modules.rl.optimization.Optimization`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from modules.methods.swinbert.swinbert_network import SwinBERT
from modules.rl.optimization import Optimization


@dataclass(frozen=True, kw_only=True)
class CaptionRates:
    """Shares of ``optimizer.learning_rate``.

    Args:
        backbone_lr_share: of the video backbone (official code: 0.05); 0 freezes it.
        mask_lr_share: of the sparse mask's logits (official code: 1).
    """

    backbone_lr_share: float = 0.05
    mask_lr_share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("backbone_lr_share", "mask_lr_share"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: 0 or more")

    def groups(self, network: SwinBERT, optimizer: Optimization) -> list[dict[str, Any]]:
        """Named parameter groups. Biases, norms and the mask do not decay (official code: the mask does, towards 0)."""
        parts: dict[str, tuple[nn.Module, float]] = {
            "backbone": (network.backbone, self.backbone_lr_share),
            "encoder": (network.encoder, 1.0),
            "mask": (network.mask, self.mask_lr_share),
        }
        return [
            {
                "name": f"{part}{'' if decays else '_no_decay'}",
                "params": parameters,
                "lr": float(optimizer.learning_rate) * share,
                "weight_decay": float(optimizer.weight_decay) if decays else 0.0,
            }
            for part, (module, share) in parts.items()
            for decays in (True, False)
            if (
                parameters := [
                    p for name, p in module.named_parameters() if p.requires_grad and _decays(part, name) == decays
                ]
            )
        ]


def _decays(part: str, name: str) -> bool:
    """By its name: what ZeRO has scattered has lost its shape."""
    return part != "mask" and not name.endswith("bias") and "norm" not in name.lower()
