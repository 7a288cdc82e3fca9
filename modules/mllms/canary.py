"""Before a real run: does the answer depend on the frames at all?

Wrong chat templates, processors that drop videos and servers that ignore images all train without an error and learn
nothing. One question is asked on its frames and on their negatives; the same scores to the last digit mean that the
video is not reaching the model.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from modules.mllms.base import MLLM, FrameTokens, Row
from modules.records import VideoQuestion

_log = logging.getLogger(__name__)


def check_that_frames_matter(
    mllm: MLLM, question: VideoQuestion, shown: Tensor, negative: Tensor, timestamps_s: Tensor
) -> None:
    """Asks one question twice.

    Args:
        mllm: to check.
        question: any.
        shown: (N, ...) tokens of N frames, as the model reads them.
        negative: (N, ...) those of their negatives.
        timestamps_s: (N,).

    Raises:
        RuntimeError: the scores do not change.
    """
    if not mllm.has_log_probs:
        _log.warning("%s gives no probabilities, so it is not checked whether its answers depend on the frames", mllm)
        return
    if len(question.options) < 2:  # a free question: any two words show whether the frames are seen
        question = VideoQuestion("", "", "", question.video, question.duration_s, question.question, ("yes", "no"))
    index = torch.arange(len(shown))
    with torch.no_grad():
        here, there = (
            mllm.score_rows([Row(question, FrameTokens(tokens, timestamps_s), index)])[0]
            for tokens in (shown, negative)
        )
    if torch.equal(here, there):
        raise RuntimeError(
            f"the video is not reaching the model: {type(mllm).__name__} scores the options of {question.question!r} "
            f"the same ({here.exp().tolist()}) on {len(shown)} frames and on their negatives. Does the chat template "
            "place the video? Do the processor and the weights belong together? (canary: false leaves this check out.)"
        )
