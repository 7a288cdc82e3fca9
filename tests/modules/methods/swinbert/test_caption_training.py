"""Training on clips: the loss falls, what is read again is what was written, and what cannot be read is left out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from coloured_clips import ColouredClips, caption_training
from quiet_trainer import quiet_trainer
from torch import Tensor

from modules.checkpoints.checkpoint_files import read
from modules.methods.swinbert.caption_objective import CaptionObjective, Dice, Holding
from modules.methods.swinbert.caption_rates import CaptionRates
from modules.methods.swinbert.caption_training import CaptionTraining, ClipFrames
from modules.methods.swinbert.captioning_system import CaptionDecoding
from modules.methods.swinbert.clip_reading import read_clips
from modules.methods.swinbert.frame_crops import square_crops
from modules.methods.swinbert.masked_word_loss import MaskedWordLoss
from modules.methods.swinbert.rewarded_captions import RewardedCaptions
from modules.methods.swinbert.swinbert_captioner import SwinBERTCaptioner
from modules.methods.swinbert.swinbert_folder import load_network
from modules.methods.swinbert.video_masks import BinaryMask, FullMask
from modules.records import QuestionBatch, Rollouts, VideoQuestion
from modules.rewards.base import Reward
from modules.rl.grpo import GRPO
from modules.rl.optimization import Optimization
from modules.rl.reward_sum import RewardTerm
from modules.roles.captioner import CaptionRequest


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[CaptionTraining, Path]:
    folder = tmp_path_factory.mktemp("swinbert")
    model = caption_training(output=str(folder / "model"))
    trainer = quiet_trainer(70, limit_val_batches=2, check_val_every_n_epoch=None, val_check_interval=70)
    trainer.fit(model, ColouredClips())
    trainer.save_checkpoint(folder / "last.ckpt")
    model.cpu()
    return model, folder


def test_it_learns_to_say_what_it_sees_and_writes_it_down(trained: tuple[CaptionTraining, Path]) -> None:
    model, _ = trained
    metrics = model.trainer.callback_metrics
    assert metrics["val/exact"] > 0.8
    assert metrics["val/cider_d"] > 1
    assert metrics["val/exact_order"] == metrics["val/exact"]


def test_a_test_compares_it_with_the_most_frequent_caption(trained: tuple[CaptionTraining, Path]) -> None:
    model, _ = trained
    data, replies = ColouredClips(bad=["red-blue.mp4"]), []
    trainer = quiet_trainer(1)
    step = model.test_step

    def noted(batch: QuestionBatch, batch_idx: int) -> None:
        replies.extend(step(batch, batch_idx))

    model.test_step = noted  # type: ignore[method-assign,assignment]
    try:
        trainer.test(model, data, verbose=False)
    finally:
        del model.test_step  # type: ignore[method-assign]
    by_system = {name: [r for r in replies if r.answer.system == name] for name in model.systems}
    assert set(by_system) == {"most frequent caption", "swinbert"}
    assert len({r.answer.text for r in by_system["most frequent caption"]}) == 1
    texts = {r.answer.sample_id: r.answer.text for r in by_system["swinbert"]}
    assert texts["red-blue"] is None  # no black frames: nothing is said of a file that cannot be read
    assert len({text for text in texts.values() if text}) > 3
    row = next(r for r in by_system["swinbert"] if r.answer.text)
    assert row.selection is not None
    assert row.selection.frame_ids == (1, 3, 5, 7)
    assert row.cost.visual_tokens == 8


def test_its_folder_is_a_captioner_that_says_the_same(trained: tuple[CaptionTraining, Path]) -> None:
    model, folder = trained
    captioner = SwinBERTCaptioner(path=str(folder / "model"))  # type: ignore[arg-type]
    data = ColouredClips()
    requests, expected = [], []
    for question in data.questions("test"):
        batch = data.batch_of([question])
        frames = next(data.decode_many([(batch.candidates[0], torch.arange(8))]))
        assert frames is not None
        requests.append(CaptionRequest(question.sample_id, frames, batch.candidates[0].timestamps_s, "anything"))
        cut = square_crops(frames[torch.tensor([1, 3, 5, 7])], 16)[None]
        network = model._network.eval()
        expected.append(network.text_of(network.write(network.read(cut), max_words=20)[0]))
    captions = captioner.caption(requests)
    assert [c.text for c in captions] == expected
    assert captions[0].cost.frames_shown == 4
    assert captioner.key == SwinBERTCaptioner(path=str(folder / "model")).key  # type: ignore[arg-type]
    beams = SwinBERTCaptioner(path=str(folder / "model"), decoding=CaptionDecoding(num_beams=2))  # type: ignore[arg-type]
    assert beams.key != captioner.key
    short = dataclasses.replace(requests[0], frames=requests[0].frames[:1])
    assert captioner.caption([short])[0].text  # a stretch of one frame


def test_the_folder_has_a_card_and_is_read_from_anywhere(trained: tuple[CaptionTraining, Path], tmp_path: Path) -> None:
    model, folder = trained
    card = (folder / "model" / "README.md").read_text()
    assert "2 x 2 x 2 (time, rows, columns)" in card
    assert "trained for | 70 updates" in card
    moved = tmp_path / "elsewhere"
    (folder / "model").rename(moved)
    try:
        network = load_network(str(moved))
    finally:
        moved.rename(folder / "model")
    for name, tensor in model._network.named_parameters():
        assert tensor.detach().equal(dict(network.named_parameters())[name].detach()), name


def test_other_folders_are_refused(trained: tuple[CaptionTraining, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes((trained[1] / "model" / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="model_type 'bert'"):
        load_network(str(tmp_path))


def test_a_resumed_run_is_the_same_as_one_that_was_not_stopped(tmp_path: Path) -> None:
    whole = caption_training()
    quiet_trainer(6).fit(whole, ColouredClips())
    first, trainer = caption_training(), quiet_trainer(3)
    trainer.fit(first, ColouredClips())
    trainer.save_checkpoint(tmp_path / "three.ckpt")
    second = caption_training()
    quiet_trainer(6).fit(second, ColouredClips(), ckpt_path=str(tmp_path / "three.ckpt"), weights_only=True)
    for (name, one), (_, two) in zip(whole.named_parameters(), second.named_parameters(), strict=True):
        torch.testing.assert_close(one, two, msg=name)


def test_weights_are_taken_to_twice_the_frames_and_to_a_binary_mask(trained: tuple[CaptionTraining, Path]) -> None:
    model, folder = trained
    longer = caption_training(
        BinaryMask(budget_frac=0.25), frames=ClipFrames(num_frames=8, size_px=16), init_from=str(folder / "last.ckpt")
    )
    quiet_trainer(1).fit(longer, ColouredClips())
    network = longer._network
    assert network.mask.logits.shape == (16, 16)
    expected = model._network.mask.logits_on(network.grid(8))
    assert network.mask.logits.equal(expected.detach())  # it is no part of what learns
    assert network.tokenizer.get_vocab() == model._network.tokenizer.get_vocab()
    other = caption_training(frames=ClipFrames(num_frames=4, size_px=32), init_from=str(folder / "last.ckpt"))
    with pytest.raises(ValueError, match="only the number of frames may change"):
        quiet_trainer(1).fit(other, ColouredClips(size_px=32))
    quiet_trainer(1).fit(caption_training(FullMask(), init_from=str(folder / "last.ckpt")), ColouredClips())


def test_checkpoints_say_which_words_they_know(trained: tuple[CaptionTraining, Path], tmp_path: Path) -> None:
    kept = read(trained[1] / "last.ckpt")["captioner"]
    assert "becomes" in kept["tokenizer"]
    assert kept["grid"] == [2, 2, 2]
    data = ColouredClips()
    data._questions = [dataclasses.replace(q, references=("other words",)) for q in data._questions]
    with pytest.raises((ValueError, RuntimeError), match=r"words|size mismatch"):
        quiet_trainer(80).fit(caption_training(), data, ckpt_path=str(trained[1] / "last.ckpt"), weights_only=True)


@pytest.mark.parametrize(
    "bad", [["red-blue.mp4"], [q.video for q in ColouredClips().questions("train")]], ids=["one", "all"]
)
def test_clips_that_cannot_be_decoded_are_left_out_and_counted(bad: list[str]) -> None:
    model, data = caption_training(), ColouredClips(bad=bad)
    quiet_trainer(2).fit(model, data)
    assert model.trainer.callback_metrics["train/undecoded_frac"] == pytest.approx(len(bad) / 6)
    assert set(data.bad_videos) == set(bad)
    assert data.counted == 2


@pytest.mark.parametrize("loss_type", [None, "grpo", "dapo"])
def test_a_loss_says_of_how_much_it_is_the_mean(trained: tuple[CaptionTraining, Path], loss_type: Any) -> None:
    """So that the means of unequal parts, as two ranks have them, make up that of the whole."""
    network, data = trained[0]._network, ColouredClips()
    for n, question in enumerate(data.questions("train")[:4]):
        object.__setattr__(question, "references", (" ".join(["red"] * n + ["becomes blue"]),))
    objective: CaptionObjective = MaskedWordLoss()
    if loss_type is not None:
        group = GRPO(num_generations=4, loss_type=loss_type, scale_rewards="none")
        objective = RewardedCaptions(rewards={"green": RewardTerm(reward=_NumWords())}, grpo=group, max_words=5)

    def loss_of(questions: list[VideoQuestion]) -> tuple[float, float]:
        clips = read_clips(data.batch_of(questions), data, 4, 16)
        assert clips is not None
        found = objective.loss(network, clips, Dice(0, 0), Holding())
        return float(found.loss.detach()), found.counted

    questions = data.questions("train")
    (whole, total), (first, n), (second, m) = (loss_of(part) for part in (questions, questions[:4], questions[4:]))
    assert total == n + m
    assert whole == pytest.approx((first * n + second * m) / total, abs=1e-5)
    if loss_type is None:
        assert abs(whole - (first + second) / 2) > 1e-3


class _NumWords(Reward):
    needs_text, needs_options = True, False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.texts is not None
        return torch.tensor([[float(len(text)) for text in texts] for texts in rollouts.texts])


class SaysGreen(Reward):
    needs_text, needs_options = True, False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.texts is not None
        assert rollouts.selection.candidate_index.shape == (6, 6, 4)
        return torch.tensor([[float("green" in text) for text in texts] for texts in rollouts.texts])


def test_rewards_of_captions_are_learnt_from() -> None:
    """A network of random weights says green more and more; with the reward turned round, less and less."""
    found = []
    for weight in (1.0, -1.0):
        objective = RewardedCaptions(
            rewards={"green": RewardTerm(reward=SaysGreen(), weight=weight)}, grpo=GRPO(num_generations=6), max_words=4
        )
        model = caption_training(
            objective=objective,
            optimizer=Optimization(learning_rate=3e-3, lr_scheduler_type="constant"),
            rates=CaptionRates(backbone_lr_share=0.0, mask_lr_share=0.0),
            sparsity_weight=0.0,
        )
        seen: list[float] = []
        quiet_trainer(12, callbacks=[_Noted(seen)]).fit(model, ColouredClips())
        found.append((sum(seen[:2]) / 2, sum(seen[-3:]) / 3))
        assert model.trainer.callback_metrics["tokens/ratio_clipped_frac"] == 0
    (before, more), (_, less) = found
    assert more > before + 0.15
    assert less < before - 0.15


class _Noted(L.Callback):
    def __init__(self, seen: list[float]) -> None:
        self.seen = seen

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.seen.append(float(trainer.callback_metrics["reward/green"]))


def test_what_does_not_go_together_is_refused() -> None:
    green = {"green": RewardTerm(reward=SaysGreen())}
    with pytest.raises(ValueError, match="num_iterations is 1"):
        RewardedCaptions(rewards=green, grpo=GRPO(num_iterations=2))
    with pytest.raises(ValueError, match="captions_per_video=0"):
        MaskedWordLoss(captions_per_video=0)
    with pytest.raises(ValueError, match="bf16-mixed"):
        quiet_trainer(1, precision="bf16-true").fit(caption_training(), ColouredClips())


def test_in_mixed_precision_it_trains() -> None:
    model = caption_training()
    quiet_trainer(2, precision="bf16-mixed").fit(model, ColouredClips())
    assert all(p.dtype == torch.float32 and bool(p.isfinite().all()) for p in model.parameters())


def test_parts_learn_at_rates_of_their_own() -> None:
    model = caption_training(rates=CaptionRates(backbone_lr_share=0.05, mask_lr_share=2.0))
    quiet_trainer(1).fit(model, ColouredClips())
    groups = {
        g["name"]: g for g in CaptionRates().groups(model._network, Optimization(learning_rate=1.0, weight_decay=0.2))
    }
    assert groups["backbone"]["lr"] == pytest.approx(0.05)
    assert groups["mask_no_decay"]["weight_decay"] == 0
    assert groups["encoder"]["weight_decay"] == pytest.approx(0.2)
    assert all(
        (p.ndim > 1) == (not name.endswith("no_decay"))
        for name, g in groups.items()
        if "mask" not in name
        for p in g["params"]
    )
    named = [id(p) for g in groups.values() for p in g["params"]]
    assert sorted(named) == sorted(id(p) for p in model.parameters())


def test_the_sparsity_loss_closes_links() -> None:
    """A weight far above the captions' own gradient closes them, whatever the captions want."""
    model = caption_training(sparsity_weight=1000.0, rates=CaptionRates(mask_lr_share=20.0))
    quiet_trainer(8).fit(model, ColouredClips())
    assert model.network is not None
    assert float(model.network.mask.sparsity().detach()) < 0.85  # sigmoid(2) = 0.88 at the start
