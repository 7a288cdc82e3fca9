"""What SwinBERT reaches on captioned clips of the Haystack world, with several seeds, in a smaller form of its recipe.

    python tests/benchmarks/swinbert_captions.py --rows main --seeds 0 1 2

The clips are MP4 files of eight seconds as those of recipes/swinbert.yaml, of the two kinds that are learnt soonest: a
ball moves one of four ways, or a shape changes from one colour to another. Each file is decoded once and its 32 frames
are kept in memory at 32 px. A training is 500 updates of 8 clips with two captions each, with the recipe's network. A
line of JSON for each row and seed:

- *main*: the most frequent caption; one frame; 8 frames with the log mask, and without any link between video tokens
- *full*: 8 frames with full attention
- *frames*: 2, 4, 16 and 32 frames
- *binary*: 50, 20 and 5 % of the links of the log mask, as they are and after tuning, and the log mask tuned as long
- *carry*: the log mask's model of 8 frames reads 16, as it is and after tuning; its mask alone in a training of 16
- *reward*: the log mask's model after updates by the CIDEr-D of captions that it draws, and after as many on words

Rows behind *main* begin with its networks, which lie in ``--folder``; what is there is not trained again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import av  # noqa: E402
import lightning as L  # noqa: E402
import torch  # noqa: E402
from quiet_trainer import quiet_trainer  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from datamodules.haystack.clip_captions import facts_right  # noqa: E402
from datamodules.haystack.clip_data import HaystackClips  # noqa: E402
from datamodules.haystack.clip_world import ClipWorld  # noqa: E402
from modules.methods.swinbert.caption_encoder import EncoderSize  # noqa: E402
from modules.methods.swinbert.caption_objective import CaptionObjective  # noqa: E402
from modules.methods.swinbert.caption_rates import CaptionRates  # noqa: E402
from modules.methods.swinbert.caption_training import CaptionTraining, ClipFrames  # noqa: E402
from modules.methods.swinbert.captioning_system import CommonCaption  # noqa: E402
from modules.methods.swinbert.frame_crops import square_crops  # noqa: E402
from modules.methods.swinbert.masked_word_loss import MaskedWordLoss  # noqa: E402
from modules.methods.swinbert.rewarded_captions import RewardedCaptions  # noqa: E402
from modules.methods.swinbert.video_masks import BinaryMask, FullMask, IdentityMask, LogMask, VideoMask  # noqa: E402
from modules.methods.swinbert.video_swin import VideoSwin  # noqa: E402
from modules.records import Candidates, QuestionBatch, VideoQuestion  # noqa: E402
from modules.rewards.caption_metrics import caption_metrics  # noqa: E402
from modules.rewards.cider_d import CIDErD  # noqa: E402
from modules.rewards.exact_match import exact_match  # noqa: E402
from modules.rl.grpo import GRPO  # noqa: E402
from modules.rl.optimization import Optimization  # noqa: E402
from modules.rl.reward_sum import RewardTerm  # noqa: E402

_CLIP_FRAMES, _FPS, _SIZE_PX = 32, 4.0, 32
ROWS = ("main", "full", "frames", "binary", "carry", "reward")


class DecodedClips(L.LightningDataModule):
    """The clips of `HaystackClips`, decoded once and kept as small squares.

    Args:
        clips: that are read.
        kept: file for the pixels of all.
    """

    def __init__(self, clips: HaystackClips, kept: Path) -> None:
        super().__init__()
        self.clips, self.bad_videos, self.shuffled_by = clips, {}, 0
        clips.prepare_data()
        self._of_split = {split: clips.load_questions(split) for split in ("train", "val", "test")}
        if not kept.exists():
            everything = [q.video for questions in self._of_split.values() for q in questions]
            torch.save({video: _frames_of(video) for video in everything}, kept)
        self.pixels: dict[str, Tensor] = torch.load(kept, weights_only=True)

    def questions(self, split: str) -> list[VideoQuestion]:
        return self._of_split[split]

    def describe(self) -> dict[str, Any]:
        return {}

    def count_batch(self) -> None:
        """Nothing is resumed here."""

    def transfer_batch_to_device(
        self, batch: QuestionBatch, device: torch.device, dataloader_idx: int
    ) -> QuestionBatch:
        return batch  # nothing of it is computed with

    def decode_many(self, asked: Sequence[tuple[Candidates, Tensor]]) -> Iterator[Tensor | None]:
        for candidates, index in asked:
            yield self.pixels[candidates.video][index]

    def batch_of(self, questions: list[VideoQuestion]) -> QuestionBatch:
        """As the data module would give it; a clip's candidates are all of its frames."""
        times = torch.arange(_CLIP_FRAMES, dtype=torch.float64) / _FPS
        places = torch.arange(_CLIP_FRAMES)
        candidates = [Candidates(q.video, places, times, _FPS, _CLIP_FRAMES) for q in questions]
        size = (len(questions), _CLIP_FRAMES)
        nothing = torch.zeros(*size, 0)
        asked = torch.zeros(len(questions), 0, 0)
        return QuestionBatch(questions, candidates, nothing, torch.ones(size).bool(), times.float().expand(size), asked)

    def train_dataloader(self) -> DataLoader:
        order = torch.Generator().manual_seed(self.shuffled_by)
        questions: Any = self._of_split["train"]
        return DataLoader(questions, 8, shuffle=True, collate_fn=self.batch_of, generator=order, drop_last=True)


def _frames_of(video: str) -> Tensor:
    """uint8 (32, 3, 32, 32)."""
    with av.open(video) as container:
        frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return square_crops(torch.stack(frames).permute(0, 3, 1, 2), _SIZE_PX)


class Bench:
    """Trains, keeps and scores captioners of one seed.

    Args:
        data: clips.
        folder: for networks.
        seed: of weights and of all that is drawn.
        num_updates: of a training from nothing.
        num_more: of what is tuned.
    """

    def __init__(self, data: DecodedClips, folder: Path, seed: int, num_updates: int, num_more: int) -> None:
        self.data, self.folder, self.seed = data, folder, seed
        self.num_updates, self.num_more = num_updates, num_more

    def trained(self, name: str, mask: VideoMask, num_frames: int = 8, *, taken: Tensor | None = None) -> Path:
        """The checkpoint of a training from nothing; ``taken`` are the logits that its mask begins with."""
        return self._run(name, mask, num_frames, self.num_updates, peak=2e-3, start=None, taken=taken)

    def tuned(
        self, name: str, start: Path, mask: VideoMask, num_frames: int = 8, objective: CaptionObjective | None = None
    ) -> Path:
        """The checkpoint of some updates more."""
        peak = 5e-4 if objective is None else 2e-4
        return self._run(name, mask, num_frames, self.num_more, peak=peak, start=start, objective=objective)

    def _run(
        self,
        name: str,
        mask: VideoMask,
        num_frames: int,
        num_updates: int,
        *,
        peak: float,
        start: Path | None,
        objective: CaptionObjective | None = None,
        taken: Tensor | None = None,
    ) -> Path:
        path = self.folder / f"{name}-s{self.seed}.ckpt"
        if path.exists():
            return path
        model = self.model(mask, num_frames, start, num_updates, peak, objective)
        self.data.shuffled_by = self.seed
        trainer = quiet_trainer(num_updates, callbacks=[_BeginsWith(taken)], log_every_n_steps=100)
        trainer.fit(model, self.data)
        trainer.save_checkpoint(path, weights_only=True)
        return path

    def model(
        self,
        mask: VideoMask,
        num_frames: int,
        start: Path | None,
        num_updates: int = 1,
        peak: float = 1e-3,
        objective: CaptionObjective | None = None,
    ) -> CaptionTraining:
        """As in recipes/swinbert.yaml, but for the size of the frames, the batches and the number of updates."""
        torch.manual_seed(self.seed)
        return CaptionTraining(
            backbone=VideoSwin(
                embed_dim=32, depths=[1, 2], num_heads=[2, 4], window=[4, 4, 4], patch=[2, 8, 8], drop_path=0.0
            ),
            encoder=EncoderSize(
                width=96,
                num_layers=2,
                num_heads=4,
                inner_width=192,
                video_width=96,
                max_positions=32,
                dropout=0.0,
                video_places=True,
                initial_std=0.05,
            ),
            mask=mask,
            frames=ClipFrames(num_frames=num_frames, size_px=_SIZE_PX, random_crop=False),
            objective=objective or MaskedWordLoss(captions_per_video=2),
            sparsity_weight=0.0 if objective else 0.5,
            optimizer=Optimization(learning_rate=peak, warmup_steps=num_updates // 10, weight_decay=0.05),
            rates=CaptionRates(backbone_lr_share=1.0, mask_lr_share=3.0),
            init_from=None if start is None else str(start),
            seed=self.seed,
        )

    @torch.no_grad()
    def score(self, name: str, checkpoint: Path, mask: VideoMask, num_frames: int = 8) -> dict[str, Any]:
        """Of the test clips."""
        model = self.model(mask, num_frames, checkpoint)
        quiet_trainer(1).validate(model, self.data, verbose=False)  # builds the network
        questions = self.data.questions("test")
        texts: list[str] = []
        for first in range(0, len(questions), 50):
            replies = model._captioner().answer(self.data.batch_of(questions[first : first + 50]), self.data)
            texts += [str(reply.answer.text) for reply in replies]
        links = model._network.mask.links(model._network.grid(num_frames))
        off = links[~torch.eye(len(links), dtype=torch.bool)]
        found = {"tokens": len(links), "open_mean": float(off.mean())}
        return self.row(name, texts) | found

    def row(self, name: str, texts: Sequence[str]) -> dict[str, Any]:
        """The metrics of a caption of each test clip, CIDEr-D and BLEU and ROUGE-L as papers print them."""
        questions = self.data.questions("test")
        found = caption_metrics(texts, [q.references for q in questions])
        pairs = list(zip(texts, questions, strict=True))
        exact = {q.sample_id: exact_match(text, q.references) for text, q in pairs}
        facts = [right for text, q in pairs for fact, right in facts_right(text, q).items() if fact != "kind"]
        kinds = sorted({str(q.groups["kind"]) for q in questions})
        of_kind = {kind: [exact[q.sample_id] for q in questions if q.groups["kind"] == kind] for kind in kinds}
        return {
            "row": name,
            "seed": self.seed,
            "cider_d": 100 * found["cider_d"],
            "bleu_4": 100 * found["bleu_4"],
            "rouge_l": 100 * found["rouge_l"],
            "facts": 100 * sum(facts) / len(facts),
            "exact": 100 * sum(exact.values()) / len(exact),
            "different_captions": len(set(texts)),
            **{kind: 100 * sum(right) / len(right) for kind, right in of_kind.items()},
        }


class _BeginsWith(L.Callback):
    """Gives a mask its logits before training."""

    def __init__(self, logits: Tensor | None) -> None:
        self.logits = logits

    @torch.no_grad()
    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self.logits is not None:
            model.network.mask.logits.copy_(self.logits)  # type: ignore[union-attr,operator]


def main_rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """What the issue asks first."""
    common = CommonCaption(bench.data.questions("train")).caption
    yield bench.row("most frequent caption", [common] * len(bench.data.questions("test")))
    yield bench.score("one frame", bench.trained("one", LogMask(), 1), LogMask(), 1)
    yield bench.score("log, 8 frames", bench.trained("log8", LogMask()), LogMask())
    yield bench.score("identity, 8 frames", bench.trained("identity8", IdentityMask()), IdentityMask())


def full_rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """The paper's baseline."""
    yield bench.score("full, 8 frames", bench.trained("full8", FullMask()), FullMask())


def frame_rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """Trained with so many frames."""
    for num_frames in (2, 4, 16, 32):
        checkpoint = bench.trained(f"log{num_frames}", LogMask(), num_frames)
        yield bench.score(f"log, {num_frames} frames", checkpoint, LogMask(), num_frames)


def binary_rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """The strongest links alone."""
    soft = bench.trained("log8", LogMask())
    yield bench.score("soft, tuned", bench.tuned("log8-more", soft, LogMask()), LogMask())
    for percent in (50, 20, 5):
        budget = percent / 100
        yield bench.score(f"{percent} % of the links", soft, BinaryMask(budget_frac=budget))
    yield bench.score("no link", soft, IdentityMask())
    for percent in (50, 20, 5):
        budget = percent / 100
        tuned = bench.tuned(f"binary{percent}", soft, BinaryMask(budget_frac=budget))
        yield bench.score(f"{percent} % of the links, tuned", tuned, BinaryMask(budget_frac=budget))
    yield bench.score("no link, tuned", bench.tuned("none", soft, IdentityMask()), IdentityMask())


def carried_rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """From 8 frames to 16."""
    short = bench.trained("log8", LogMask())
    yield bench.score("model and mask of 8 frames, reading 16", short, LogMask(), 16)
    tuned = bench.tuned("carried16", short, LogMask(), 16)
    yield bench.score("model and mask of 8 frames, tuned on 16", tuned, LogMask(), 16)
    carried = bench.model(LogMask(), 16, short)
    quiet_trainer(1).validate(carried, bench.data, verbose=False)
    taken = carried._network.mask.logits.detach().clone()  # type: ignore[operator]
    alone = bench.trained("maskof8-16", LogMask(), 16, taken=taken)
    yield bench.score("mask of 8 frames, the rest from nothing, 16", alone, LogMask(), 16)


def reward_rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """Updates by CIDEr-D, and as many on hidden words."""
    start = bench.trained("log8", LogMask())
    yield bench.score("hidden words, tuned", bench.tuned("log8-more", start, LogMask()), LogMask())
    objective = RewardedCaptions(
        rewards={"cider_d": RewardTerm(reward=CIDErD(), weight=1.0)}, grpo=GRPO(num_generations=8)
    )
    rewarded = bench.tuned("rewarded", start, LogMask(), objective=objective)
    yield bench.score("CIDEr-D as reward", rewarded, LogMask())


def main() -> None:
    """Measures some rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=["main"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("outputs/swinbert_captions"))
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--more", type=int, default=100)
    parser.add_argument("--clips", type=int, default=1000, help="to train on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    world = replace(ClipWorld(), duration_s=_CLIP_FRAMES / _FPS, kinds=("colour", "motion"))
    clips = HaystackClips(
        world=world, num_train_videos=options.clips, num_val_videos=0, num_test_videos=200, seed=0, batch_size=8
    )
    data = DecodedClips(clips, options.folder / "pixels.pt")
    kinds = dict(zip(ROWS, (main_rows, full_rows, frame_rows, binary_rows, carried_rows, reward_rows), strict=True))
    for kind in options.rows:
        for seed in options.seeds:
            bench = Bench(data, options.folder, seed, options.updates, options.more)
            started = time.perf_counter()
            for row in kinds[kind](bench):
                row["seconds"] = round(time.perf_counter() - started)
                print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
                started = time.perf_counter()


if __name__ == "__main__":
    main()
