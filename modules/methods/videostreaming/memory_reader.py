"""The language model that answers on memories: V of them in order of time stand where the frames of a video would.

Paper: Vicuna-7B reads V T P = 4 x 16 x 4 = 256 tokens through a two-layer MLP, whatever the length of the video.
"""

from __future__ import annotations

from typing import Literal

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from modules.checkpoints.weights import read_weights
from modules.files.paths import InputPath, ModelPath
from modules.mllms.base import Row
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.loading import Loading
from modules.mllms.prompt import Prompt
from modules.mllms.transformers_mllm import Clip

PREFIX = "output."
"""Of the output MLP's names in a file of weights."""


class MemoryReader(LlavaOnevision):
    """A LLaVA whose video tokens are memories of clips, as `ClipMemories` makes them.

    Args:
        path, prompt, loading: see `TransformersMLLM`; the vision tower is not used.
        memory_dim: W, width of a memory's tokens.
        memory_tokens: F P, tokens of a memory.
        weights: safetensors file with the output MLP's trained weights (``output.*``).
        newline: see `LlavaOnevision`.
    """

    def __init__(
        self,
        *,
        path: ModelPath,
        memory_dim: PositiveInt,
        memory_tokens: PositiveInt,
        weights: InputPath | None = None,
        prompt: Prompt | None = None,
        loading: Loading | None = None,
        newline: Literal["one", "grid"] = "one",
    ) -> None:
        super().__init__(path=path, prompt=prompt, loading=loading, newline=newline)
        width = int(self.model.config.get_text_config().hidden_size)
        self.memory_shape = (memory_tokens, memory_dim)
        self.output = nn.Sequential(nn.Linear(memory_dim, width), nn.GELU(), nn.Linear(width, width))
        if weights is not None:
            trained = {n.removeprefix(PREFIX): t for n, t in read_weights(weights).items() if n.startswith(PREFIX)}
            if not trained:
                raise ValueError(f"{weights} has no {PREFIX}* tensors: it is no file of a reader of memories")
            self.output.load_state_dict(trained)

    @property
    def reads_features(self) -> bool:
        return True

    def encode_frames(self, frames: Tensor) -> Tensor:
        raise ValueError("this model reads memories of clips, and no frames: data.encoder has to be ClipMemories")

    def language_parameters(self) -> list[nn.Parameter]:
        return [*super().language_parameters(), *self.output.parameters()]

    def clip(self, row: Row) -> Clip:
        memories = row.tokens[:, 1:]  # the first token is the indicator
        if tuple(memories.shape[1:]) != self.memory_shape:
            raise ValueError(
                f"memories of {tuple(memories.shape[1:])} (tokens, width) cannot be read by a model of "
                f"{self.memory_shape}: they are of another condenser"
            )
        memories = memories.to(self.device, next(self.output.parameters()).dtype)
        tokens = self.output(memories).to(self.dtype)
        return Clip("", torch.cat([tokens.flatten(0, 1), self.model.model.image_newline[None]]))

    def text_nats(self, rows: list[Row], texts: list[str]) -> Tensor:
        """How improbable texts are as answers: -log p over the root of the number of tokens, float32 (R,), with graph.

        # paper: the language model's loss, and silent on how answers of several lengths are weighed
        """
        tokenizer = self.tokenizer
        ids = [
            torch.tensor([*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id])
            for text in texts
        ]
        log_probs = self.log_probs(rows, ids)
        return -log_probs.sum(-1) / torch.tensor([len(i) for i in ids], device=log_probs.device).sqrt()

    def answer_nats(self, rows: list[Row]) -> Tensor:
        """`text_nats` of the right answers, in the form that the prompt asks for.

        Raises:
            ValueError: a question has none.
        """
        return self.text_nats(rows, [self._right_answer(row) for row in rows])

    def _right_answer(self, row: Row) -> str:
        question = row.question
        if question.answer is None:
            raise ValueError(f"question {question.sample_id} has no right answer to learn from")
        if question.answer_index is None:
            return question.answer
        return self.prompt_of(row).answers(question)[question.answer_index]
