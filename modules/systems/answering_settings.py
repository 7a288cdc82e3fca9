"""How frames are shown to an MLLM and its answers taken, as a recipe says it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AnsweringSettings:
    """What `modules.systems.answering.Answering` needs to know besides the MLLM.

    Args:
        store_frame_tokens: keep the MLLM's tokens of *all* candidates in the feature store, so that no frame is decoded
            or encoded afterwards; else the union of the chosen frames is decoded and encoded at every step.
        rows_per_forward: rollouts in one forward of the MLLM, and in one backward where it is trained.
        max_new_tokens: of generated answers, where a reward reads text.
        canary: before the first answer, check that the answers depend on the frames.
    """

    store_frame_tokens: bool = False
    rows_per_forward: int = 256
    max_new_tokens: int = 16
    canary: bool = True

    def __post_init__(self) -> None:
        for name in ("rows_per_forward", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: at least 1")
