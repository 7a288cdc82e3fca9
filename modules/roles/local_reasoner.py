"""A language model of transformers as a reasoner: any causal one with a tokenizer, of whatever size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from jsonargparse.typing import PositiveInt

from modules.encoders.base import weights_digest
from modules.files.hub import fetching
from modules.files.model_files import AS_DATA, as_data
from modules.files.paths import ModelPath
from modules.mllms.chat_template import render
from modules.mllms.drawing import plain_decoding
from modules.mllms.loading import Loading
from modules.roles.reasoner import Message, Reasoner, Written


class LocalReasoner(Reasoner):
    """Writes the most probable text, as the model's own chat template wants to be asked.

    A model without such a template reads the turns one below the other.

    Args:
        path: folder or hub id.
        max_new_tokens: of a turn, thoughts included.
        loading: precision, placement, attention.
    """

    def __init__(self, *, path: ModelPath, max_new_tokens: PositiveInt = 2048, loading: Loading | None = None) -> None:
        super().__init__()
        self.max_new_tokens, self.loading = max_new_tokens, loading or Loading()
        self.name = as_data(ModelPath(path))
        with fetching(self.name) as place:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(
                self.name, revision=self.loading.revision, **AS_DATA
            )
            self.model = self.loading.model(transformers.AutoModelForCausalLM, place).requires_grad_(False)

    def describe(self) -> dict[str, Any]:
        return {
            "reasoner": type(self.model).__name__,
            "weights": weights_digest(self.model),
            "decoding": "most probable tokens; no penalties or cut-offs of the checkpoint",
            "max_new_tokens": self.max_new_tokens,
            "transformers": transformers.__version__,
        }

    def _apply(self, fn: Any, recurse: bool = True) -> LocalReasoner:
        """A model that transformers has placed stays where it is."""
        return self if self.loading.device_map is not None else super()._apply(fn, recurse)

    @property
    def context_tokens(self) -> int | None:
        """What the model's positions leave for a conversation beside the answer."""
        most = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return None if most is None else max(1, most - self.max_new_tokens)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return len(self._prompt_ids(messages))

    @torch.no_grad()
    def write(self, messages: Sequence[Message]) -> Written:
        ids, most = self._prompt_ids(messages), self.context_tokens
        if most is not None and len(ids) > most:
            raise ValueError(
                f"a conversation of {len(ids)} tokens, and {self.name} reads at most {most} and writes "
                f"{self.max_new_tokens}: take shorter captions (max_new_tokens of the captioner) or another model"
            )
        prompt_ids = torch.tensor([ids], device=self.model.device)
        with plain_decoding(self.model, self.max_new_tokens, self.tokenizer.pad_token_id):
            sequences = self.model.generate(  # type: ignore[operator]
                input_ids=prompt_ids,
                attention_mask=torch.ones_like(prompt_ids),
                generation_config=self.model.generation_config,
            )
        new_ids = sequences[0, prompt_ids.shape[1] :]
        text = self.tokenizer.decode(new_ids, skip_special_tokens=True)
        return Written(text.strip(), prompt_ids.shape[1], len(new_ids))

    def _prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        if self.tokenizer.chat_template is None:
            text = "".join(f"{message.text}\n" for message in messages)
            return self.tokenizer(text)["input_ids"]
        turns = [{"role": message.role, "content": message.text} for message in messages]
        return self.tokenizer(render(self.tokenizer, turns), add_special_tokens=False)["input_ids"]
