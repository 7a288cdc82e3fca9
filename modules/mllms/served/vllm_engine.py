"""vLLM draws the answers that an MLLM is trained on (``evolve: joint``), with the weights of the last update.

Tokens are drawn from the distribution that the trained model itself draws from: the cut-offs and penalties that a
server takes from a model's ``generation_config.json`` are set to none in every call, and placeholders of pictures,
which no answer can have, are biased away. vLLM's raw log-probabilities are of the logits before that bias, so those of
the placeholders are asked for beside each token, and what is reported is log p - log(1 - sum of theirs). What it draws
from still differs from the trained model in its kernels and precision, and by the JPEG of the frames, so its
log-probabilities are kept and training corrects for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from modules.mllms.base import MLLM, Generation, Row
from modules.mllms.chat_answers import ChatChoice, drawn_tokens, text_of
from modules.mllms.engine import RolloutEngine
from modules.mllms.openai import OpenAIChat
from modules.mllms.served.weight_transfer import WeightTransfer

_WHOLE_DISTRIBUTION = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "return_token_ids": True}
_NEVER = -100.0
"""The least that the protocol allows a bias to be: e^-100 of the probability that it had."""


class VLLMEngine(RolloutEngine):
    """Draws on a vLLM server.

    Args:
        served: the server; its prompt and the size of its frames have to be those of the trained model.
        transfer: how weights reach it.
        log_probs: its ``--logprobs-mode``: ``raw`` (vLLM's default) is before the temperature, so that only a
            temperature of 1 will do, and before the bias, for which vLLM has to know ``logprob_token_ids`` (2026-05).
    """

    def __init__(
        self,
        *,
        served: OpenAIChat,
        transfer: WeightTransfer,
        log_probs: Literal["raw", "processed"] = "raw",
    ) -> None:
        self.served, self.transfer, self.log_probs = served, transfer, log_probs
        self._unsaid_ids: list[int] = []

    def prepare(self, mllm: MLLM) -> None:
        if mllm.injects:
            raise ValueError(
                f"{type(mllm).__name__} as it is set up encodes frames here and shows features, and a server is sent "
                "frames: let it encode frames with each row (Qwen-VL: frames_per_grid: 2), or leave joint.rollouts out"
            )
        if self.served.prompt.digest() != mllm.prompt.digest():
            raise ValueError(
                "the engine's prompt is not that of the trained model: give joint.rollouts.engine the same"
            )
        self._unsaid_ids = mllm.unsaid_ids

    def generate(self, rows: list[Row], max_new_tokens: int, temperature: float, seeds: list[int]) -> Generation:
        if temperature != 1.0 and self.log_probs == "raw":
            raise ValueError(
                f"answers are drawn at temperature {temperature:g}, and the server tells log-probabilities of "
                "temperature 1: start it with --logprobs-mode processed_logprobs and set log_probs: processed"
            )
        drawn = self.served.drawn(
            rows,
            self._read,
            seeds,
            max_tokens=max_new_tokens,
            temperature=temperature,
            top_p=1.0,
            logprobs=True,
            extra_body=_WHOLE_DISTRIBUTION | self._without_unsaid(),
        )
        texts, token_ids, log_probs = (list(part) for part in zip(*drawn, strict=True))
        return Generation(texts, token_ids, log_probs)

    def _without_unsaid(self) -> dict[str, Any]:
        """What a request says so that no placeholder is drawn, and so that what was drawn from is known."""
        if not self._unsaid_ids:
            return {}
        bias = {"logit_bias": {str(token_id): _NEVER for token_id in self._unsaid_ids}}
        told = {"logprob_token_ids": self._unsaid_ids, "return_tokens_as_token_ids": True}
        return bias | told if self.log_probs == "raw" else bias

    def _read(self, choice: ChatChoice, row: Row) -> tuple[str, torch.Tensor, torch.Tensor]:
        drawn = drawn_tokens(choice, self._unsaid_ids, before_bias=self.log_probs == "raw")
        return (text_of(choice).strip(), *drawn)

    def sync_weights(self, mllm: MLLM, version: int) -> None:
        self.transfer(mllm, version, self._post)

    def _post(self, route: str, body: Mapping[str, Any] | None) -> Any:
        return self.served.own_route(route, body)
