"""One rank of a data module set up by several, over gloo with a short time-out; prints what came of it as JSON."""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from datamodules.questions.video_questions import VideoQuestionData
from datamodules.video.decoding_settings import DecodingSettings
from modules.encoders.base import FrameEncoder
from modules.records import VideoQuestion


class Brightness(FrameEncoder):
    """Mean of each channel, slowly."""

    def __init__(self, seconds_a_piece: float) -> None:
        super().__init__()
        self.seconds_a_piece, self.num_frames = seconds_a_piece, 0

    @property
    def key(self) -> str:
        return "brightness"

    def encode_frames(self, frames: Tensor) -> Tensor:
        time.sleep(self.seconds_a_piece)
        self.num_frames += len(frames)
        return frames.float().mean((2, 3))


class Questions(VideoQuestionData):
    """One a video."""

    def __init__(self, videos: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.given = videos

    def load_questions(self, split: str) -> list[VideoQuestion]:
        videos = self.given if split == "train" else self.given[-1:]
        return [VideoQuestion("d", split, Path(v).stem, v, 0.0, "?", ("a", "b"), 0) for v in videos]


def outcome(rank: int, case: dict[str, Any]) -> dict[str, Any]:
    """What setting up a data module comes to on this rank."""
    encoder = Brightness(case["seconds_a_piece"][rank]) if case["encode"] else None
    data = Questions(
        case["videos"],
        encoder=encoder,
        feature_dir=case["store"],
        decoding=DecodingSettings(num_workers=1, on_bad_video=case["on_bad_video"]),
        batch_size=1,
    )
    told: dict[str, Any] = {}
    try:
        data.setup("fit")
        items = data.items("train")
        told["questions"] = [q.sample_id for q in items.questions]
        told["lengths"] = [len(items.entry(i).candidates) for i in range(len(items))]
        distributed.barrier()
    except Exception as error:
        told["error"] = f"{type(error).__name__}: {error}"
        time.sleep(case["linger_s"])  # as a trainer does, which ends its callbacks and loggers
    data.teardown("fit")
    return told | {"frames": 0 if encoder is None else encoder.num_frames, "bad": data.bad_videos}


def main(folder: Path, rank: int, port: int, timeout_s: float, cases: dict[str, dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    store = distributed.TCPStore("127.0.0.1", port, 2, is_master=rank == 0)  # both have started when it is there
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=timeout_s))
    told = {name: outcome(rank, case) for name, case in cases.items()}
    (folder / f"{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), json.loads(sys.argv[5]))
