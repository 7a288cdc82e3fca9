"""What came of a question, as JSON: the protocol's own fields, and where it was looked and what it cost beside them."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch

from modules.parsing import LETTERS
from modules.records import Answer
from modules.systems.grading import most_probable_option
from modules.systems.reply_text import answer_text, option_probabilities
from recipes.serving.chat_request import OWN_FIELD, ChatRequest
from recipes.serving.jpeg_pictures import as_text
from recipes.serving.question_work import Outcome


def completion(id_: str, request: ChatRequest, outcome: Outcome) -> dict[str, Any]:
    """An answer in one piece."""
    return {
        "id": id_,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer_content(request, outcome), "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": usage(outcome),
        OWN_FIELD: own_content(request, outcome),
    }


def answer_content(request: ChatRequest, outcome: Outcome) -> str:
    """The answer's text; a letter and its option where the options came with letters."""
    assert outcome.reply is not None
    answer: Answer = outcome.reply.answer
    if request.lettered and answer.option_log_probs is not None:
        best = most_probable_option(answer)
        return "none of the options" if best is None else f"{LETTERS[best]}. {answer.options[best]}"
    return answer_text(answer)


def usage(outcome: Outcome) -> dict[str, int]:
    """Tokens, as far as they are known."""
    cost = None if outcome.reply is None else outcome.reply.cost
    read = 0 if cost is None else (cost.text_tokens_in or 0) + (cost.visual_tokens or 0)
    written = 0 if cost is None else cost.text_tokens_out or 0
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def own_content(request: ChatRequest, outcome: Outcome) -> dict[str, Any]:
    """Where it was looked, what it cost, and what of the request had no effect."""
    reply, candidates = outcome.reply, outcome.candidates
    found: dict[str, Any] = {
        "system": _system_of(outcome),
        "video": {"duration_s": round(candidates.duration_s, 3), "candidates": len(candidates)},
        "looked_at": looked_at(outcome),
        "notes": _notes(outcome),
        "without_effect": list(request.without_effect),
        "together": outcome.num_together,
        "seconds": {part: round(seconds, 4) for part, seconds in outcome.seconds.items()},
    }
    if reply is not None:
        found["options"] = [
            {"text": text, "probability": round(share, 6)} for text, share in option_probabilities(reply.answer).items()
        ]
        found["cost"] = dataclasses.asdict(reply.cost)
        found["trace"] = [dataclasses.asdict(step) for step in reply.trace]
    if request.thumbnails:
        found["thumbnails"] = thumbnails(outcome)
    if request.all_scores:
        found["candidates"] = candidate_scores(outcome)
    return found


def _system_of(outcome: Outcome) -> str | None:
    """Who chose, whatever name it was asked under."""
    if outcome.reply is not None:
        return outcome.reply.answer.system
    return None if outcome.selection is None else outcome.selection.sampler


def looked_at(outcome: Outcome) -> list[dict[str, Any]] | None:
    """The frames that were chosen, in order of time; None where nobody knows."""
    row = outcome.selection
    if row is None:
        return None
    scores, ranks = row.scores or [None] * len(row.frame_ids), row.ranks or [None] * len(row.frame_ids)
    return [
        {"time_s": time_s, "frame": frame, "score": score, "rank": rank}
        for frame, time_s, score, rank in zip(row.frame_ids, row.timestamps_s, scores, ranks, strict=True)
    ]


def thumbnails(outcome: Outcome) -> list[dict[str, Any]]:
    """Small pictures of what was chosen, one a candidate (of a clip, its middle frame), in order of time."""
    if outcome.pictures is None or outcome.selection is None:
        return []
    times = times_of_pictures(outcome)
    return [
        {"time_s": time_s, "url": f"data:image/jpeg;base64,{as_text(picture)}"}
        for time_s, picture in zip(times, outcome.pictures, strict=True)
    ]


def times_of_pictures(outcome: Outcome) -> list[float]:
    """Of each candidate that was chosen, increasing."""
    assert outcome.selection is not None
    index = outcome.candidates.holding(torch.tensor(outcome.selection.frame_ids, dtype=torch.int64))
    return [round(time_s, 6) for time_s in outcome.candidates.timestamps_s[index].tolist()]


def candidate_scores(outcome: Outcome) -> dict[str, Any]:
    """Every candidate's time and, where the system has some, its score."""
    scores = outcome.candidate_scores
    return {
        "times_s": [round(time_s, 3) for time_s in outcome.candidates.timestamps_s.tolist()],
        "scores": None if scores is None else [round(score, 6) for score in scores.tolist()],
    }


def _notes(outcome: Outcome) -> list[str]:
    """What went otherwise than somebody may expect."""
    found = []
    if outcome.selection is not None and len(outcome.candidates) < outcome.num_wanted:
        found.append(
            f"the video has {len(outcome.candidates)} candidate frames, fewer than the {outcome.num_wanted} that were "
            "asked for; all of them were used"
        )
    return found
