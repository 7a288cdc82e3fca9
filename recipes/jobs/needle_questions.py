"""TSPO's needle data from a folder of videos (paper sec. 4.1; no code of it is public).

The MLLM describes the events of a clip; the description becomes a multiple-choice question that identifies the clip;
questions that can be answered without the clip are ambiguous and dropped, which asking the MLLM on other clips shows.
The result are ``specific`` rows: `datamodules.questions.needles.NeedleBuilder` hides their clips among others in
training.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jsonargparse.typing import PositiveInt

from datamodules.annotations.choices import choices_of, question_and_choices
from datamodules.video.video_info import BadVideoError
from modules.files.paths import InputPath
from modules.mllms.base import MLLM, FrameTokens, Row
from modules.part_progress import tracked
from modules.records import VideoQuestion
from modules.roles.captioner import Captioner, CaptionRequest
from modules.seeds import seed_of
from recipes.jobs.asking import Clips, videos_below
from recipes.jobs.base import Job
from recipes.jobs.counts import report
from recipes.jobs.question_files import append_line, resume_lines, tspo_record, write_lines

_DESCRIBE = (
    "Describe what happens in this video: who or what is seen, what they do and in which order. Name details that no "
    "other video is likely to share. Three sentences at most."
)
_WRITE = (
    "Below is a description of one clip that is hidden in a long video. Write one multiple-choice question with four "
    "options that can be answered only by somebody who has seen this clip. The question has to say which moment it is "
    "about, without giving away the answer. Use exactly this form:\nQuestion: ...\nA. ...\nB. ...\nC. ...\nD. ...\n"
    "Answer: <letter>\n\nDescription: "
)
_IDENTIFY = "The video contains one of these scenes. Which one?"
_ANSWER = re.compile(r"^[^\S\n]*Answer:\s*\(?([A-J])\b", re.MULTILINE)


class BuildNeedles(Job):
    """Writes questions about single clips of a folder, to be hidden among the others as needles.

    Args:
        videos: folder of clips, searched below too.
        mllm: that describes and answers (paper: Qwen2.5-VL describes).
        out: file of the questions (JSON lines, as TSPO-10K); descriptions lie beside it, so a cut-off run goes on.
        style: ``written`` has the MLLM write a question from the description; ``identify`` asks which of four
            descriptions is seen, three being of other clips, for models that cannot write.
        num_frames: shown of a clip.
        num_distractors: other clips that a question is tried on.
        max_right_frac: a question answered right on more than this share of them is ambiguous; chance is 0.25.
        max_new_tokens: of a description or a question.
        min_words: shorter descriptions are none.
        short_side_px: frames are shrunk to this; None keeps them.
        seed: of distractors and orders.
        captioner: that describes in the place of the MLLM, which answers then.
    """

    def __init__(
        self,
        *,
        videos: InputPath,
        mllm: MLLM,
        out: str,
        style: Literal["written", "identify"] = "written",
        num_frames: PositiveInt = 16,
        num_distractors: PositiveInt = 4,
        max_right_frac: float = 0.5,
        max_new_tokens: PositiveInt = 160,
        min_words: PositiveInt = 5,
        short_side_px: PositiveInt | None = None,
        seed: int = 0,
        captioner: Captioner | None = None,
    ) -> None:
        self.captioner = captioner
        self.videos, self.mllm, self.out, self.style = Path(videos), mllm, Path(out), style
        self.num_frames, self.num_distractors, self.max_right_frac = num_frames, num_distractors, max_right_frac
        self.max_new_tokens, self.min_words, self.seed = max_new_tokens, min_words, seed
        self.short_side_px = short_side_px

    @torch.no_grad()
    def run(self, run_dir: Path) -> None:
        files = videos_below(self.videos)
        if len(files) < 4:
            raise ValueError(f"{self.videos} holds {len(files)} videos; needles need at least 4 to hide among")
        clips = Clips(self.mllm, self.num_frames, self.short_side_px)
        try:
            described = self._describe(files, clips)
            kept, counts = [], Counter({"video cannot be read": len(files) - len(described)})
            for video in tracked(described, "Writing and trying questions", len(described), "videos"):
                question, verdict = self._question(video, described, clips)
                counts[verdict] += 1
                if question is not None and verdict == "kept":
                    kept.append(question)
        finally:
            clips.close()
        write_lines(self.out, (tspo_record(q, "specific", self.videos) for q in kept))
        report(run_dir, self.out, len(files), +counts)

    def _describe(self, files: list[str], clips: Clips) -> dict[str, str]:
        """Description of every readable file, from the notes beside the result or from the MLLM."""
        notes = self.out.with_suffix(".descriptions.jsonl")
        known = {n["video"]: n["description"] for n in resume_lines(notes)}
        for video in tracked(files, "Describing clips", len(files), "videos"):
            if video in known:
                continue
            try:
                known[video] = self._description(video, clips)
            except BadVideoError:
                continue
            append_line(notes, {"video": video, "description": known[video]})
        return {video: known[video] for video in files if video in known}

    def _description(self, video: str, clips: Clips) -> str:
        if self.captioner is not None:
            request = CaptionRequest(Path(video).stem, *clips.decode(video), _DESCRIBE, video)
            return self.captioner.caption([request])[0].text
        ask = VideoQuestion("needles", "train", Path(video).stem, video, 0.0, _DESCRIBE)
        return self.mllm.generate([clips.row(ask, video)], self.max_new_tokens).texts[0]

    def _question(self, video: str, described: dict[str, str], clips: Clips) -> tuple[VideoQuestion | None, str]:
        """A question that identifies the clip, and ``kept`` or why not."""
        if len(described[video].split()) < self.min_words:
            return None, f"description of fewer than {self.min_words} words"
        rng = np.random.default_rng(seed_of(f"{self.seed}/{video}"))
        others = [v for v in described if v != video]
        question = (
            self._identify(video, described, others, rng) if self.style == "identify" else self._write(video, described)
        )
        if isinstance(question, str):
            return None, question
        if not clips.right(question, video):
            return question, "answered wrong on its own clip"
        tried = rng.permutation(len(others))[: self.num_distractors]
        right = [clips.right(question, others[i]) for i in tried]
        if np.mean(right) > self.max_right_frac:
            return question, "ambiguous: answered right on other clips"
        return question, "kept"

    def _identify(self, video: str, described: dict[str, str], others: list[str], rng: Any) -> VideoQuestion | str:
        wrong = [
            described[others[i]] for i in rng.permutation(len(others)) if described[others[i]] != described[video]
        ][:3]
        if len(wrong) < 3:
            return "no three other descriptions to choose from"
        answer_index = int(rng.integers(4))
        options = (*wrong[:answer_index], described[video], *wrong[answer_index:])
        return VideoQuestion("needles", "train", self._id(video), video, 0.0, _IDENTIFY, options, answer_index)

    def _write(self, video: str, described: dict[str, str]) -> VideoQuestion | str:
        ask = VideoQuestion("needles", "train", self._id(video), video, 0.0, _WRITE + described[video])
        nothing = FrameTokens(torch.empty(0), torch.empty(0))
        text = self.mllm.generate([Row(ask, nothing, torch.empty(0, dtype=torch.int64))], self.max_new_tokens).texts[0]
        try:
            body, options, answer_index = read_question(text)
        except ValueError:
            return "no question in the asked form"
        return VideoQuestion("needles", "train", self._id(video), video, 0.0, body, options, answer_index)

    def _id(self, video: str) -> str:
        return f"needle-{Path(video).relative_to(self.videos).with_suffix('')}"


def read_question(text: str) -> tuple[str, tuple[str, ...], int]:
    """Question, options and index of the answer of what was written in the asked form.

    Raises:
        ValueError: it has another form, fewer than two options, or two that are alike.
    """
    written = text.partition("Question:")[2]
    answer = _ANSWER.search(written)
    body, choices = question_and_choices(written[: answer.start()]) if answer else ("", choices_of([]))
    if answer is None or not body or len(choices.texts) < 2 or len(set(choices.texts)) < len(choices.texts):
        raise ValueError(f"no question in the asked form: {text[:80]!r}")
    return body, choices.texts, choices.lettered(answer[1])
