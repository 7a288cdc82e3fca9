"""MSJoE's first turn: what is written is read, embedded, searched with; its tokens are trained with the answer's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from evolution_settings import evolution, terms
from quiet_trainer import quiet_trainer
from trl_oracle import trl_loss

from datamodules.haystack.captions import queries_for
from datamodules.haystack.datamodule import HaystackData
from datamodules.video.decoding_settings import DecodingSettings
from modules.checkpoints.weights import load_weights
from modules.encoders.open_clip import OpenCLIPEncoder
from modules.methods.msjoe.query_writing import PreviewQueries, parse_queries
from modules.methods.msjoe.unet import UNetSampler
from modules.methods.training_free.top_k import TopK
from modules.methods.training_free.uniform import Uniform
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.prompt import Prompt
from modules.records import QuestionBatch, VideoQuestion
from modules.rewards.accuracy import Accuracy
from modules.rewards.format import Format
from modules.rl.evolution import EvolutionModule
from modules.rl.grpo import GRPO
from modules.rl.rollout_phase import RolloutPhase
from modules.rl.token_training import JointTraining, TokenTraining
from modules.systems.answering import Answering
from modules.systems.queries import WrittenQueries
from recipes.launcher.guard import ROOT

WEIGHTS, PROMPTS = ROOT / "recipes/haystack/weights/msjoe", ROOT / "recipes/haystack/prompts"
WRITING: dict[str, Any] = {"template": str(PROMPTS / "queries.txt"), "preview_tokens": 1, "max_new_tokens": 24}
ANSWER = Prompt(answer_with="words", question_first=True, template=str(PROMPTS / "answer.txt"))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ('<think>the dog</think><queries>["a dog", "a red ball"]</queries>', ["a dog", "a red ball"]),
        ('<think>two\nlines</think>\n<queries>\n["a dog"]\n</queries>\n', ["a dog"]),
        ('<think></think><queries>[" a ", "b", "c", "d"]</queries>', ["a", "b", "c", "d"]),
        ('<think>t</think><queries>["a", "b", "c", "d", "e"]</queries>', []),
        ('<think>t</think><queries>["a dog", "A dog"]</queries>', []),
        ("<think>t</think><queries>[]</queries>", []),
        ('<think>t</think><queries>["a", ""]</queries>', []),
        ('<think>t</think><queries>["a", 3]</queries>', []),
        ('<think>t</think><queries>{"a": "b"}</queries>', []),
        ('<think>t</think><queries>["a"</queries>', []),
        ('<queries>["a dog"]</queries>', []),
        ('<think>t</think><queries>["a"]</queries> so there', []),
        ("a dog", []),
        ("", []),
    ],
)
def test_queries_are_read_or_none_are(text: str, queries: list[str]) -> None:
    assert parse_queries(text, 4) == queries


@pytest.mark.parametrize(
    ("question", "queries"),
    [
        ("What colour is the star?", ["star"]),
        ("Which letter is green?", ["green letter"]),
        ("How many red dots are on the card?", ["red dots"]),
        ("Which comes first: star, ring, heart or moon?", ["star", "ring", "heart", "moon"]),
        ("What colour is the first shape?", ["shape"]),
        ("What colour is the shape right after the cross?", ["cross"]),
    ],
)
def test_what_a_good_query_names(question: str, queries: list[str]) -> None:
    assert queries_for(VideoQuestion("d", "s", "q", "v", 1.0, question)) == queries


class Small:
    """The shipped query writer on two short videos."""

    def __init__(self, root: Path, world: Any) -> None:
        self.root, self.world = root, world

    def data(self, **kwargs: Any) -> HaystackData:
        return HaystackData(
            world=self.world,
            root=str(self.root / "videos"),
            feature_dir=str(self.root / "features"),
            decoding=DecodingSettings(num_workers=1),
            num_train_videos=2,
            num_val_videos=1,
            num_test_videos=1,
            **{"encoder": OpenCLIPEncoder(model=f"local-dir:{WEIGHTS}/clip"), "batch_size": 4, **kwargs},
        )

    def mllm(self) -> LlavaOnevision:
        return LlavaOnevision(path=str(WEIGHTS / "vlm"), prompt=ANSWER)

    def batch(self) -> tuple[HaystackData, QuestionBatch]:
        data = self.data()
        data.prepare_data()
        data.setup("fit")
        return data, next(iter(data.train_dataloader()))

    def module(self, **kwargs: Any) -> EvolutionModule:
        torch.manual_seed(3)
        settings: dict[str, Any] = {
            "rewards": terms(Accuracy(), Format()),
            "grpo": GRPO(num_generations=3, loss_type="grpo"),
            "num_frames": 4,
            "evolve": "joint",
            "joint": JointTraining(learning_rate=1e-3, keep_initial=True),
            "max_new_tokens": 8,
            "query_writer": PreviewQueries(**WRITING),
            "store_frame_tokens": True,
            "grade_by": "text",
            "baselines": {"uniform": Uniform(), "clip_topk": TopK()},
            **kwargs,
        }
        return evolution(sampler=UNetSampler(channels=(8, 16), similarity_init=1.0), mllm=self.mllm(), **settings)

    def trainer(self, max_steps: int = 1) -> L.Trainer:
        return quiet_trainer(max_steps)


@pytest.fixture(scope="module")
def small(tmp_path_factory, short_world) -> Small:
    return Small(tmp_path_factory.mktemp("queries"), short_world)


def write(mllm: LlavaOnevision, *request: Any, writer: PreviewQueries | None = None) -> WrittenQueries:
    """Queries for a sampler of 8 frames; ``request`` is source, batch, number of rollouts and seed."""
    source, batch, *rest = request
    return (writer or PreviewQueries(**WRITING)).write(Answering(mllm, canary=False), source, batch, 8, *rest)


def test_queries_become_vectors_and_absent_ones_zeros(small: Small) -> None:
    data, batch = small.batch()
    written = write(small.mllm(), data, batch, 6, "seed")
    assert written.features.shape[:2] == (4, 6)
    assert written.features.shape[2] == max(max(len(q) for q in group) for group in written.queries)
    read = [(b, g, q) for b in range(4) for g in range(6) for q in written.queries[b][g]]
    assert len(read) > 12  # most texts are of the form
    for b, g, query in read:
        n = written.queries[b][g].index(query)
        torch.testing.assert_close(written.features[b, g, n], data.encoder.encode_texts([query])[0])
    for b in range(4):
        for g in range(6):
            count = len(written.queries[b][g])
            assert not written.features[b, g, max(count, 1) :].any()
            if count == 0:
                torch.testing.assert_close(written.features[b, g, 0], batch.queries[b, 0])


def test_a_draw_is_its_own_whatever_shares_its_batch(small: Small) -> None:
    data, batch = small.batch()
    whole = write(small.mllm(), data, batch, 4, "seed").completions.generation.texts
    alone = QuestionBatch(
        batch.questions[2:3],
        batch.candidates[2:3],
        batch.features[2:3],
        batch.mask[2:3],
        batch.timestamps_s[2:3],
        batch.queries[2:3],
    )
    assert write(small.mllm(), data, alone, 4, "seed").completions.generation.texts == whole[8:12]
    assert write(small.mllm(), data, batch, 4, "other").completions.generation.texts != whole


def test_previews_are_few_small_and_encoded_once(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    data, batch = small.batch()
    mllm, asked = small.mllm(), []
    real = mllm.encode_previews
    monkeypatch.setattr(mllm, "encode_previews", lambda f, n: asked.append(len(f)) or real(f, n))
    writer = PreviewQueries(**WRITING)
    first = write(mllm, data, batch, 2, "seed", writer=writer)
    assert asked == [4] * len({q.video for q in batch.questions})  # half of K = 8 a video
    write(mllm, data, batch, 2, "again", writer=writer)
    assert len(asked) == len({q.video for q in batch.questions})
    row = first.completions.rows[0]
    assert row.tokens.shape[:2] == (4, 1)
    assert row.prompt.template == WRITING["template"]


def test_trajectories_carry_both_turns_and_the_answer_sees_no_previews(small: Small) -> None:
    data, batch = small.batch()
    answering = Answering(small.mllm(), canary=False, max_new_tokens=8)
    phase = RolloutPhase(UNetSampler(channels=(8,)), answering, PreviewQueries(**WRITING), 4, 3, 0)
    found = phase.run(data, batch, 7, options=False, text=True, temperature=1.0)
    assert found.rollouts.selection.candidate_index.shape == (4, 3, 4)
    assert found.sampler_selection.candidate_index.shape == (12, 1, 4)
    assert len(found.completions) == 2
    assert all(len(turn.generation.texts) == 12 for turn in found.completions)
    assert len(found.rollouts.queries) == 4
    ids = found.rollouts.selection.in_time_order()
    for n, row in enumerate(found.completions[1].rows):
        times = batch.candidates[n // 3].timestamps_s[ids[n // 3, n % 3]]
        torch.testing.assert_close(row.timestamps_s, times.float())  # the chosen frames and nothing else
        assert row.prompt is None
    torch.testing.assert_close(
        found.policy.log_prob(found.sampler_selection.candidate_index).detach(),
        found.sampler_selection.log_probs,
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dapo", "dr_grpo", "sapo"])
def test_two_turns_are_one_sequence_as_trl_counts_it(small: Small, loss_type: str) -> None:
    data, batch = small.batch()
    mllm = small.mllm().requires_grad_(False)
    answering = Answering(mllm, canary=False, max_new_tokens=8)
    phase = RolloutPhase(UNetSampler(channels=(8,)), answering, PreviewQueries(**WRITING), 4, 2, 0)
    completions = phase.run(data, batch, 0, options=False, text=True, temperature=1.0).completions
    training = TokenTraining(mllm, JointTraining(loss_type=loss_type), GRPO(num_generations=2))
    with torch.no_grad():  # an MLLM that has moved since it spoke
        for parameter in training.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    advantages = torch.randn(8, generator=torch.Generator().manual_seed(0))
    ours = torch.zeros(())
    for part in training.loss_parts(completions, advantages, rows_per_forward=3):
        part.loss.backward()
        ours += part.loss.detach()
    gradient = {n: p.grad.clone() for n, p in mllm.named_parameters() if p.grad is not None}
    mllm.zero_grad()

    # the same tokens without padding between the turns
    parts = [
        [mllm.log_probs([row], [ids])[0] for row, ids in zip(t.rows, t.generation.token_ids, strict=True)]
        for t in completions
    ]
    sequences = [torch.cat([turn[n] for turn in parts]) for n in range(8)]
    olds = [torch.cat([t.generation.log_probs[n] for t in completions]) for n in range(8)]
    log_probs, old = (torch.nn.utils.rnn.pad_sequence(x, batch_first=True) for x in (sequences, olds))
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(s)) for s in sequences], batch_first=True)
    length = sum(max(len(i) for i in t.generation.token_ids) for t in completions)
    theirs = trl_loss(
        training.grpo, log_probs, old, log_probs.detach(), advantages, mask, torch.zeros_like(mask), max_length=length
    )
    theirs.backward()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
    for name, parameter in mllm.named_parameters():
        if name in gradient:
            torch.testing.assert_close(gradient[name], parameter.grad, atol=1e-5, rtol=1e-3)


def test_joint_training_moves_both_and_tells_where_the_gain_is(small: Small) -> None:
    module, trainer, rows = small.module(), small.trainer(), []
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    trainer.fit(module, datamodule=small.data())
    moved = {n for n, p in module.named_parameters() if not torch.equal(before[n], p)}
    assert any(n.startswith("sampler.") for n in moved)
    assert any("language_model" in n for n in moved)
    assert not any("vision_tower" in n for n in moved)

    class Collect(L.Callback):
        def on_test_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            rows.extend(outputs)

    trainer.callbacks.append(Collect())
    trainer.test(module, datamodule=small.data(), verbose=False)
    assert {r.answer.system for r in rows} == {
        "blind",
        "oracle",
        "uniform",
        "clip_topk",
        "before",
        "after",
        "after, question only",
        "uniform, initial mllm",
        "after, initial mllm",
        "after, initial queries",
        "start",
    }
    assert all(r.answer.text is not None and r.cost.calls >= 1 for r in rows)
    shown = {r.answer.system: r.cost.frames_shown for r in rows}
    assert shown["blind"] == 0
    assert shown["after"] > shown["after, question only"] == shown["oracle"]  # previews for the queries


def test_one_key_freezes_the_model(small: Small) -> None:
    module = small.module(evolve="sampler", rewards=terms(Accuracy(by="text"), Format()))
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    small.trainer().fit(module, datamodule=small.data())
    moved = {n for n, p in module.named_parameters() if not torch.equal(before[n], p)}
    assert moved
    assert all(n.startswith("sampler.") for n in moved)


def test_stage_two_starts_from_stage_one(small: Small, tmp_path: Path) -> None:
    first = small.module(evolve="sampler", rewards=terms(Accuracy(by="text")))
    trainer = small.trainer()
    trainer.fit(first, datamodule=small.data())
    trainer.save_checkpoint(tmp_path / "stage1.ckpt")
    second = small.module(init_from=str(tmp_path / "stage1.ckpt"))
    for (name, a), b in zip(first.sampler.named_parameters(), second.sampler.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(second.systems["before"].sampler.head.weight, first.sampler.head.weight)


def test_weights_of_another_model_are_refused(small: Small, tmp_path: Path) -> None:
    module = small.module()
    torch.save({"state_dict": {"sampler.head.weight": torch.zeros(1, 99, 1)}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"holds sampler\.head\.weight \(1, 99, 1\), and .* UNetSampler with"):
        load_weights(module, str(tmp_path / "other.ckpt"))
    torch.save({"state_dict": {}}, tmp_path / "empty.ckpt")
    with pytest.raises(ValueError, match="no sampler"):
        load_weights(module, str(tmp_path / "empty.ckpt"))
    (tmp_path / "text.ckpt").write_text("nonsense")
    with pytest.raises(ValueError, match="refused"):
        load_weights(module, str(tmp_path / "text.ckpt"))
    (tmp_path / "text.safetensors").write_text("nonsense")
    with pytest.raises(ValueError, match="refused"):
        load_weights(module, str(tmp_path / "text.safetensors"))
    with pytest.raises(ValueError, match="no such file"):
        load_weights(module, str(tmp_path / "nothing.ckpt"))


def test_both_turns_are_one_policy(small: Small) -> None:
    with pytest.raises(ValueError, match="have to be the same"):
        small.module(query_writer=PreviewQueries(**WRITING, temperature=0.7))


def test_frames_are_chosen_once_for_whoever_answers(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    real = PreviewQueries.write
    monkeypatch.setattr(PreviewQueries, "write", lambda self, *a, **k: written.append(id(self)) or real(self, *a, **k))
    trainer = small.trainer()
    trainer.test(small.module(), datamodule=small.data(), verbose=False)
    # before, after; start, and after with the initial queries: "after, initial mllm" has the frames of "after"
    assert len(written) == 4 * trainer.num_test_batches[0]


def test_a_sampler_without_features_cannot_search(small: Small) -> None:
    with pytest.raises(ValueError, match=r"data\.encoder has to be one"):
        small.data(encoder=None).embed_texts(["a dog"])
