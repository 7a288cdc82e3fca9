"""How a transformers model is put into memory: precision, placement, attention kernel, LoRA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers

from modules.files.model_files import WEIGHTS_AS_DATA, as_data


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters (peft) on the language model.

    Args:
        r, alpha, dropout: peft's.
        target_modules: names of linear layers, as peft matches them; the vision tower is always left alone.
    """

    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: list[str] | None = None

    def __post_init__(self) -> None:
        if self.r < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"Lora(r={self.r}, alpha={self.alpha}, dropout={self.dropout}): r >= 1, alpha > 0, 0 <= dropout < 1"
            )


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a model's weights are loaded, and what of them is trained.

    Args:
        dtype: of the weights.
        device_map: transformers' (``auto`` spreads one model over the GPUs of one process); None leaves placing to the
            trainer.
        attn_implementation: or None for the family's default; never a kernel's repository, whose code would run.
        lora: adapters to train in place of the weights.
        revision: of a hub id.
    """

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device_map: str | dict[str, Any] | None = None
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3"] | None = None
    lora: Lora | None = None
    revision: str = "main"

    def model(self, model_class: type[Any], path: str) -> transformers.PreTrainedModel:
        """The model in evaluation mode.

        Raises:
            ValueError: its files ask for more than to be read (`modules.files.model_files`).
        """
        placed = {"device_map": self.device_map} if self.device_map is not None else {}
        attention = {"attn_implementation": self.attn_implementation} if self.attn_implementation else {}
        model = model_class.from_pretrained(
            as_data(path), dtype=self.dtype, revision=self.revision, **placed, **attention, **WEIGHTS_AS_DATA
        )
        return self.adapted(model).eval()

    def adapted(self, model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
        """The model with LoRA layers in its language model, which alone are trainable then."""
        if self.lora is None:
            return model
        from peft import LoraConfig, inject_adapter_in_model

        names = self.lora.target_modules or ["q_proj", "k_proj", "v_proj", "o_proj"]
        config = LoraConfig(
            r=self.lora.r,
            lora_alpha=self.lora.alpha,  # type: ignore[arg-type]
            lora_dropout=self.lora.dropout,
            target_modules=_language_layers(model, names),
        )
        model.requires_grad_(False)
        return inject_adapter_in_model(config, model)  # type: ignore[return-value]


def _language_layers(model: transformers.PreTrainedModel, names: list[str]) -> list[str]:
    """Full names of the linear layers of those names outside of the vision tower, where there is one."""
    sees = hasattr(model.config, "vision_config")
    found = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear)
        and name.rsplit(".", 1)[-1] in names
        and (not sees or any(part in name for part in ("language_model", "text_model")))
    ]
    if not found:
        raise ValueError(f"lora.target_modules {names}: the language model has no such linear layers")
    return found


def merge_adapters(model: torch.nn.Module) -> None:
    """Adds LoRA layers to the weights that they adapt, and takes them out."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
