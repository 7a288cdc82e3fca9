"""Who answers in training when a sampler has chosen: the MLLM on the frames, or an agent that follows the choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modules.systems.answering_settings import AnsweringSettings
from modules.systems.led_agent import Agent


@dataclass(frozen=True, kw_only=True)
class RolloutAnswering(AnsweringSettings):
    """How the answers of a training are taken.

    Args:
        store_frame_tokens, rows_per_forward, max_new_tokens, canary: see `AnsweringSettings`.
        agent: looks at what was chosen one after another and answers itself; left out, the MLLM is shown all of it.
        unanswered: a question that a served model gives no answer to ends the run (``stop``), or is left out of the
            step, said and counted (``leave_out``). It is never counted as wrong.
    """

    agent: Agent | None = None
    unanswered: Literal["stop", "leave_out"] = "stop"
