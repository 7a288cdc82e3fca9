"""VideoLucy on scripted roles: what depth, a cue, true captions and the length of the video are worth to the search.

    PYTHONPATH=.:tests python tests/benchmarks/lucy_scripted.py --seeds 0 1 2 --videos 32

Everything is known here, so each line isolates one thing. A video has one needle, seen only by a caption of at most so
many seconds (10: fine, 1: ultra-fine), and a cue that leads to it in every coarser caption; the answer is one of four
colours, of which a guess is always the first. Scopes are 100 s, 10 s and 1 s, rounds five. Columns: share of right
answers by seed; of all questions that ended in certainty, and of those right; reasoner's calls, and seconds captioned
in looks, a question.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scripted_roles import COLOURS, Frames, ScriptedCaptioner, ScriptedReasoner, batch_of, needle, question

from modules.methods.videolucy.localizers import OracleLocalizer, RandomLocalizer
from modules.methods.videolucy.lucy_settings import LucySettings
from modules.methods.videolucy.scopes import Level, Scopes
from modules.methods.videolucy.videolucy import VideoLucy
from modules.mllms.openai import OpenAIChat
from modules.roles.lying_captioner import LyingCaptioner
from modules.systems.answering import Answering
from modules.systems.base import Reply, Setting, prepared

LEVELS = [Level(scope_s=100, fps=0.5), Level(scope_s=10, fps=1), Level(scope_s=1, fps=2)]
KINDS = [list(COLOURS), ["glitters", "sleeps", "waits", "rusts"]]


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    scope_s: float = 10.0
    depth: int = 3
    duration_s: float = 600.0
    cue: bool = True
    lies: float = 0.0
    localizer: str = "reasoner"
    max_rounds: int = 5


def cases() -> list[Case]:
    """All of them."""
    found = []
    for name, scope_s in (("fine", 10.0), ("ultra-fine", 1.0)):
        found.append(Case(f"seen only {name}: coarse only", scope_s, max_rounds=0))
        found += [Case(f"seen only {name}: depth {depth}", scope_s, depth=depth) for depth in (2, 3)]
        found += [Case(f"seen only {name}: {who}", scope_s, localizer=who) for who in ("random", "oracle")]
        found.append(Case(f"seen only {name}: no cue", scope_s, cue=False))
    found += [Case(f"fine, {share:.0%} of captions false", lies=share) for share in (0.05, 0.1, 0.2)]
    found += [Case(f"ultra-fine, {length:g} s", 1.0, duration_s=length) for length in (600, 3600)]
    return found


def replies(case: Case, seed: int, num_videos: int, folder: Path) -> list[Reply]:
    """The answers to one question about each of some videos."""
    generator = torch.Generator().manual_seed(seed)
    questions, facts = [], {}
    for n in range(num_videos):
        second = int(float(torch.rand((), generator=generator)) * (case.duration_s - 1)) + 0.25
        colour, video = COLOURS[n % 4], f"{seed}-{n}"
        facts[video] = needle(second, colour, case.scope_s, **({} if case.cue else {"cue_scope_s": 0.0}))
        questions.append(question(n, video, colour, evidence_s=((second - 0.2, second + 0.2),)))
    captioner: Any = ScriptedCaptioner(facts)
    if case.lies:
        captioner = LyingCaptioner(captioner=captioner, share=case.lies, kinds=KINDS, seed=seed)
    localizers = {"reasoner": None, "random": RandomLocalizer(seed=seed), "oracle": OracleLocalizer()}
    lucy = VideoLucy(
        reasoner=ScriptedReasoner(),
        captioner=captioner,
        scopes=[Scopes(levels=LEVELS[: case.depth])],
        settings=LucySettings(memories=str(folder)),
        localizer=localizers[case.localizer],
        max_rounds=case.max_rounds,
    )
    nobody = Answering(OpenAIChat(model="nobody", base_url="http://127.0.0.1:1/v1"), canary=False)
    prepared({"lucy": lucy}, Setting(answering=nobody, num_frames=4))
    return lucy.answer(batch_of(questions, case.duration_s), Frames())  # type: ignore[arg-type]


def line(case: Case, seeds: list[int], num_videos: int) -> str:
    """A row of the table."""
    right, certain, certainly_right, calls, seconds = [], [], [], [], []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            answered = replies(case, seed, num_videos, Path(folder))
        own = [r.answer.option_log_probs[r.answer.answer_index] == 0 for r in answered]  # type: ignore[index]
        right.append(sum(own) / len(own))
        sure = [r.answer.exit != "forced" for r in answered]
        certain += sure
        certainly_right += [is_right for is_right, is_sure in zip(own, sure, strict=True) if is_sure]
        for reply in answered:
            calls.append(sum(step.cost.calls for step in reply.trace if step.role == "reasoner"))
            looks = [step for step in reply.trace if step.action == "describe again"]
            seconds.append(sum(end - start for step in looks for start, end in step.spans_s))
    by_seed = " ".join(f"{share:.2f}" for share in right)
    then = f"{sum(certainly_right) / len(certainly_right):.2f}" if certainly_right else "-"
    sure_frac, mean_calls = sum(certain) / len(certain), sum(calls) / len(calls)
    mean_s = sum(seconds) / len(seconds)
    return f"| {case.name} | {by_seed} | {sure_frac:.2f} | {then} | {mean_calls:.1f} | {mean_s:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--videos", type=int, default=32)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print("| case | right, by seed | certain | right then | calls | seconds captioned in looks |")
    print("|---|---|---|---|---|---|")
    for case in cases():
        print(line(case, options.seeds, options.videos), flush=True)


if __name__ == "__main__":
    main()
