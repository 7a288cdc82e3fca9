"""The lower layers of a language model, which encode a stream: the paper's are the first 16 of Phi-2's 32."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from modules.files.hub import fetching
from modules.files.model_files import AS_DATA, WEIGHTS_AS_DATA, as_data
from modules.files.paths import ModelPath


class LanguageLayers(nn.Module):
    """Embeddings, the first layers, the last norm and, for stage 1, the output head of a causal language model.

    Args:
        path: folder or hub id of a language model, or of a vision-language model, whose language half is taken.
        num_layers: how many of its layers; they are the first ones (paper: half of them, and more did worse).
        dtype: of the weights. Layers that learn want float32: a step is smaller than most bfloat16 numbers are apart.
        head: keep the output head, which stage 1 reads and nothing else.
    """

    def __init__(self, *, path: ModelPath, num_layers: PositiveInt, dtype: str = "float32", head: bool = True) -> None:
        super().__init__()
        name = as_data(ModelPath(path))
        with fetching(name) as place:
            config = transformers.AutoConfig.from_pretrained(name, **AS_DATA)
            sees = hasattr(config, "vision_config")
            loader: Any = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
            model = loader.from_pretrained(place, dtype=dtype, **WEIGHTS_AS_DATA)
        decoder = model.get_decoder()
        if num_layers > len(decoder.layers):
            raise ValueError(f"num_layers={num_layers}: the language model in {name} has {len(decoder.layers)}")
        decoder.layers = decoder.layers[:num_layers]
        decoder.config.num_hidden_layers = num_layers
        for part in decoder.modules():  # what a rollout saw has to be what its log-probability is taken of
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        self.decoder, self.head = decoder, model.get_output_embeddings() if head else None
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(name, **AS_DATA)
        self.width = int(decoder.config.hidden_size)

    @property
    def device(self) -> torch.device:
        return self.decoder.device

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.dtype

    def embed(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (B, L, W) of B texts and bool (B, L), True at real tokens; padding stands on the left."""
        ids, real = left_padded([self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts])
        return self.decoder.get_input_embeddings()(ids.to(self.device)), real.to(self.device)

    def embed_pairs(self, texts: list[str], answers: list[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """B texts, each followed by its answer and the end-of-text token.

        Returns:
            Embeddings (B, L, W); bool (B, L), True at real tokens; int64 (B, L) token ids; bool (B, L), True at tokens
            of the answer.
        """
        end = [self.tokenizer.eos_token_id]
        heads, tails = (
            [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in part] for part in (texts, answers)
        )
        ids, real = left_padded([head + tail + end for head, tail in zip(heads, tails, strict=True)])
        lengths = torch.tensor([len(tail) + 1 for tail in tails])
        is_answer = torch.arange(ids.shape[1]) >= ids.shape[1] - lengths[:, None]
        ids, real, is_answer = (tensor.to(self.device) for tensor in (ids, real, is_answer))
        return self.decoder.get_input_embeddings()(ids), real, ids, is_answer

    def forward(self, embeddings: Tensor, real: Tensor, sees: Tensor | None = None) -> Tensor:
        """Hidden states (B, L, W).

        Args:
            embeddings: (B, L, W).
            real: bool (B, L), False at padding, which nothing attends to and which takes no position.
            sees: bool (L, L) or (B, L, L), which position (row) attends to which (column); causal by default.
        """
        length = real.shape[1]
        if sees is None:
            sees = torch.ones(length, length, dtype=torch.bool, device=real.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=real.device)
        mask = (sees & real[:, None]) | itself  # padding attends to itself: a row of nothing has no softmax
        positions = (real.cumsum(1) - 1).clamp(min=0)
        out = self.decoder(
            inputs_embeds=embeddings.to(self.dtype),
            attention_mask=mask[:, None],
            position_ids=positions,
            use_cache=False,
        )
        return out.last_hidden_state


def left_padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """int64 (B, L) token ids that end together, and bool (B, L), True at real ones."""
    length = max(map(len, rows))
    ids = torch.tensor([[0] * (length - len(row)) + row for row in rows], dtype=torch.int64)
    real = torch.tensor([[False] * (length - len(row)) + [True] * len(row) for row in rows])
    return ids, real
