"""A language model that has never seen a picture answers on memories (paper: Vicuna-7B).

Nothing of it knows of videos, so what the vision-language families bring is made here: the place of the memories in the
prompt, and the sequence of embeddings with the memories at it. Each of their tokens has one placeholder among the token
ids, the tokenizer's unknown or padding token, which no answer can contain.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor, nn

from modules.methods.videostreaming.memory_reading import MemoryReading
from modules.mllms.base import Row
from modules.mllms.chat_template import render
from modules.mllms.transformers_mllm import Clip

VICUNA = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] + ' ' }}"
    "{% else %}{{ 'USER: ' + m['content'] + ' ' }}{% endif %}{% endfor %}ASSISTANT:"
)
"""Vicuna's conversation, version 1.1; its tokenizer has no template of its own."""
_PLACE = "\ufffc"
"""Where the memories stand in a text: the character for an object that is no text."""


class LanguageModelReader(MemoryReading):
    """A causal language model that reads memories of clips in the place of a video.

    Args:
        kwargs: see `MemoryReading` and `TransformersMLLM`.
    """

    model_class: ClassVar[type[Any]] = transformers.AutoModelForCausalLM

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        path, tokenizer = kwargs["path"], self.tokenizer
        if hasattr(self.model.config, "vision_config"):
            raise ValueError(f"{path} is a vision-language model: MemoryReader reads memories with a LLaVA")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.unk_token
        if tokenizer.chat_template is None:
            tokenizer.chat_template = VICUNA
        if self.video_token_id in (None, tokenizer.eos_token_id):
            raise ValueError(
                f"the tokenizer of {path} has neither an unknown nor a padding token to stand for memories"
            )

    @property
    def tokenizer(self) -> transformers.PreTrainedTokenizerBase:
        return self.processor  # what transformers calls the processor of a language model

    @property
    def vision(self) -> list[nn.Module]:
        return []

    @property
    def frame_size(self) -> str:
        return "memories"

    @property
    def video_token_id(self) -> int:
        unknown = self.tokenizer.unk_token_id
        return self.tokenizer.pad_token_id if unknown is None else unknown

    vision_tokens = MemoryReading.encode_frames

    def clip(self, row: Row) -> Clip:
        return Clip(_PLACE, self.output.tokens(row.tokens))

    def features(self, clips: list[Clip]) -> Tensor:
        return torch.cat([c.features.to(self.device, self.dtype) for c in clips])

    def messages(self, row: Row) -> list[dict[str, Any]]:
        """The conversation, whose contents are texts, with a mark where the memories stand."""
        messages = super().messages(row)
        for message in messages:
            parts = [_PLACE if part["type"] == "video" else _without_mark(part["text"]) for part in message["content"]]
            message["content"] = "\n".join(parts)
        return messages

    def prompt_text(self, row: Row, video_text: str | None = None) -> str:
        return render(self.processor, self.messages(row)) + self.prompt_of(row).answer_prefix

    def prompt_ids(self, row: Row, clip: Clip | None) -> list[int]:
        """Token ids of the prompt, with a placeholder for each token of the memories."""
        place = self.video_token_id
        # somebody's own words may name the token too
        texts = [
            [i for i in self.tokenizer(text, add_special_tokens=False)["input_ids"] if i != place]
            for text in self.prompt_text(row).split(_PLACE)
        ]
        if clip is None:
            return texts[0]
        before, after = texts
        return before + [place] * len(clip.features) + after

    def inputs(self, rows: list[Row], answers: list[list[int]] | None = None) -> dict[str, Any]:
        inputs = super().inputs(rows, answers)
        memories = inputs.pop("mm_encoder_outputs", {}).get(self.modality)
        embeddings = self.model.get_input_embeddings()(inputs["input_ids"])
        if memories is not None:
            places = (inputs["input_ids"] == self.video_token_id) & (inputs["attention_mask"] == 1)
            embeddings = embeddings.masked_scatter(places[..., None], memories.to(embeddings.dtype))
        return {**inputs, "inputs_embeds": embeddings}

    def hidden_states(self, inputs: dict[str, Any]) -> Tensor:
        return super().hidden_states({name: value for name, value in inputs.items() if name != "input_ids"})


def _without_mark(text: str) -> str:
    return text.replace(_PLACE, "")
