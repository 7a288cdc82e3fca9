"""A trained localizer: what its trajectories are, by hand and against naive loops, and that it learns where to look."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from quiet_trainer import quiet_trainer
from scripted_search import SCOPES, SPANS, THINGS, WIDTH, SearchWorld
from torch import Tensor

from modules.methods.training_free.random import Random
from modules.methods.training_free.top_k import TopK
from modules.methods.tspo.agent import TSPOSampler
from modules.methods.videolucy.localizers import OracleLocalizer, RandomLocalizer
from modules.methods.videolucy.lucy_settings import LucySettings
from modules.methods.videolucy.notation import Notation
from modules.methods.videolucy.rollouts_of_orders import Outcome, rollouts_of
from modules.methods.videolucy.scopes import Level, Scopes
from modules.methods.videolucy.videolucy import VideoLucy
from modules.records import Cost, QuestionBatch, Selection
from modules.rewards.accuracy import Accuracy
from modules.rewards.call_cost import CallCost
from modules.rl.grpo import GRPO, grpo_loss
from modules.selection.policies import PlackettLuce
from modules.systems.base import Reply, VideoSystem, prepared

# ---- trajectories ----


def choices_of(num_entries: int, num_questions: int = 1) -> QuestionBatch:
    """Questions with so many coarse memories, and nothing else."""
    from scripted_roles import batch_of, question

    return batch_of([question(n) for n in range(num_questions)], float(num_entries), fps=1.0)


def followed(logits: Tensor, orders: list[list[int]], looks: list[int]) -> tuple[Selection, Tensor]:
    """Orders of one question that ended after so many looks, and the log-probabilities of what is left of them."""
    policy = PlackettLuce(logits[None], torch.ones(1, len(logits), dtype=torch.bool))
    index = torch.tensor(orders)[None]
    drawn = Selection(index, policy.log_prob(index).detach())
    outcomes = [[Outcome(n, "A", Cost(calls=n)) for n in looks]]
    selection = rollouts_of(outcomes, choices_of(len(logits)), drawn).selection
    return selection, policy.log_prob(selection.candidate_index)


def test_what_is_behind_the_end_is_left_out() -> None:
    selection, log_probs = followed(torch.zeros(3), [[2, 0, 1], [0, 1, 2], [1, 2, 0]], [1, 3, 0])
    assert selection.candidate_index.tolist() == [[[2, -1, -1], [0, 1, 2], [-1, -1, -1]]]
    third, half = torch.tensor(3.0).log(), torch.tensor(2.0).log()
    expected = torch.tensor([[[-third, 0, 0], [-third, -half, 0], [0, 0, 0]]])
    torch.testing.assert_close(selection.log_probs, expected)
    torch.testing.assert_close(log_probs, expected)


def test_the_probabilities_of_all_searches_sum_to_one() -> None:
    """Ends after one look at entry 0, after two where entry 0 or 1 is the second, and else after three."""
    logits, searches = torch.randn(4, generator=torch.Generator().manual_seed(0)), set[tuple[int, ...]]()
    for order in itertools.permutations(range(4), 3):
        n = 1 if order[0] == 0 else 2 if order[1] in (0, 1) else 3
        searches.add(order[:n])
    padded = [[*search, *[-1] * (3 - len(search))] for search in searches]
    policy = PlackettLuce(logits[None], torch.ones(1, 4, dtype=torch.bool))
    total = policy.log_prob(torch.tensor(padded)[None]).sum(-1).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0))


def expected_reward(logits: Tensor, cost: float, num_draws: int) -> Tensor:
    """E[R] by a naive loop over all orders: right where entry 0 was looked at, each look costs."""
    total = logits.new_zeros(())
    for order in itertools.permutations(range(len(logits)), num_draws):
        probability, left = logits.new_ones(()), list(range(len(logits)))
        for pick in order:
            probability = probability * logits[pick].exp() / logits[left].exp().sum()
            left.remove(pick)
        looks = order.index(0) + 1 if 0 in order else num_draws
        total = total + probability * (float(0 in order) - cost * looks)
    return total


def policy_gradient(logits: Tensor, cost: float, num_draws: int) -> Tensor:
    """Minus the gradient of our loss, each order weighed by its probability: what GRPO's step is on average."""
    logits = logits.clone().requires_grad_()
    orders = list(itertools.permutations(range(len(logits)), num_draws))
    looks = [order.index(0) + 1 if 0 in order else num_draws for order in orders]
    whole = PlackettLuce(logits[None], torch.ones(1, len(logits), dtype=torch.bool))
    probabilities = whole.log_prob(torch.tensor(orders)[None]).sum(-1).exp()[0].detach()
    selection, log_probs = followed(logits, [list(order) for order in orders], looks)
    rewards = torch.tensor([float(0 in order) - cost * n for order, n in zip(orders, looks, strict=True)])
    loss = grpo_loss(
        GRPO(num_generations=2, loss_type="dr_grpo"),
        log_probs[0],
        selection.log_probs[0],
        # dr_grpo divides by N x K; the baseline may be any number
        (rewards - 0.3) * probabilities * len(orders) * num_draws,
        selection.mask[0],
    ).loss
    (gradient,) = torch.autograd.grad(-loss, logits)
    return gradient


def test_two_entries_by_hand() -> None:
    """The evidence is in the first of two, and p = sigmoid(l_1 - l_2) is the chance to look there first.

    One look: E[R] = p - c, so its gradient is (p (1 - p), -p (1 - p)). Two looks: the second draw is certain, and
    E[R] = 1 - c (2 - p): what is learnt is to save a call, c times as much.
    """
    logits = torch.tensor([0.3, -0.4])
    p = torch.sigmoid(logits[0] - logits[1])
    slope = p * (1 - p) * torch.tensor([1.0, -1.0])
    torch.testing.assert_close(policy_gradient(logits, 0.1, 1), slope)
    torch.testing.assert_close(policy_gradient(logits, 0.1, 2), 0.1 * slope)
    assert policy_gradient(logits, 0.1, 1)[0] > 0 > policy_gradient(logits, 0.1, 1)[1]


@pytest.mark.parametrize("num_draws", [1, 2, 3])
def test_the_gradient_is_that_of_the_expected_reward(num_draws: int) -> None:
    logits = torch.randn(5, generator=torch.Generator().manual_seed(num_draws)).requires_grad_()
    (expected,) = torch.autograd.grad(expected_reward(logits, 0.07, num_draws), logits)
    torch.testing.assert_close(policy_gradient(logits.detach(), 0.07, num_draws), expected)


# ---- the agent ----


@pytest.fixture
def world(tmp_path: Path) -> SearchWorld:
    return SearchWorld(tmp_path, num_videos=4, batch_size=4)


def rolled_out(world: SearchWorld, orders: list[list[list[int]]], **agent: Any) -> tuple[Any, VideoLucy]:
    """What comes of orders (B, G, K) for the first questions of the test split."""
    module = world.module(agent=world.agent(**agent))
    batch = next(world.batches("test"))
    index = torch.tensor(orders)
    choices = module.agent.choices(batch, world)
    rollouts = module.agent.follow(batch, choices, world, Selection(index, torch.zeros(index.shape)))
    return rollouts, module.agent


def test_a_rollout_ends_where_the_evidence_is_found(world: SearchWorld) -> None:
    right = [world.evidence[q.sample_id] for q in world.split["test"]]
    others = [[n for n in range(SPANS) if n != place] for place in right]
    orders = [[[r, *o[:2]], [o[0], r, o[1]], o[:3]] for r, o in zip(right, others, strict=True)]
    rollouts, _ = rolled_out(world, orders)
    assert rollouts.selection.mask.sum(-1).tolist() == [[1, 2, 3]] * 4
    assert Accuracy()(rollouts)[:, :2].tolist() == [[1.0, 1.0]] * 4
    answers = [q.answer_index for q in world.split["test"]]
    assert Accuracy()(rollouts)[:, 2].tolist() == [float(a == 0) for a in answers]  # a guess, always the first
    # a look: the period and its two parts are described, then instructed and answered; at the end of the last an answer
    calls = torch.tensor([SPANS + 1 + 5 * looks for looks in (1, 2, 3)]) + torch.tensor([0, 0, 1])
    torch.testing.assert_close(CallCost()(rollouts), -calls.float().expand(4, 3))


def test_each_search_is_made_once_and_its_captions_too(world: SearchWorld) -> None:
    orders = [[[0, 1, 2], [0, 1, 2], [2, 1, 0], [0, 1, 3]]] * 4
    first, agent = rolled_out(world, orders)
    captioner, reasoner = agent.roles.captioning.captioner, agent.roles.reasoner
    named = [(request.video, request.name, request.prompt) for request in captioner.requests]
    assert len(named) == len(set(named))
    assert len(reasoner.asked) == len(set(reasoner.asked))
    before = len(named), len(reasoner.asked)
    batch = next(world.batches("test"))
    index = torch.tensor(orders)
    again = agent.follow(batch, agent.choices(batch, world), world, Selection(index, torch.zeros(index.shape)))
    assert (len(captioner.requests), len(reasoner.asked)) == before
    assert again.costs == first.costs  # as if nothing had been known
    assert again.texts == first.texts


def test_a_rollout_reads_memories_in_the_notation_of_the_agent(world: SearchWorld) -> None:
    """A search that goes on from a coarse memory writes it down as that was written."""
    notation = Notation(repeats=False, leave_out=["A"])
    settings = LucySettings(memories=str(world.folder / "memories"), notation=notation, entry_features="texts")
    _, agent = rolled_out(world, [[[0, 1, 2]]] * 4, settings=settings)
    prompts = [prompt for role, prompt in agent.roles.reasoner.asked if role in ("answer", "forced")]
    assert len(prompts) > 4
    assert all("s] room with" in prompt and "A room" not in prompt for prompt in prompts)


def test_a_search_does_not_depend_on_what_is_drawn_behind_its_end_nor_on_other_searches(world: SearchWorld) -> None:
    right = world.evidence[world.split["test"][0].sample_id]
    a, b, c = [n for n in range(SPANS) if n != right][:3]
    together, _ = rolled_out(world, [[[a, right, b], [b, c, a], [a, right, c]]] * 4)
    world.folder = world.folder / "anew"
    alone, _ = rolled_out(world, [[[a, right, c]]] * 4)
    for rollouts in (together, alone):
        assert rollouts.selection.candidate_index[0, -1].tolist() == [a, right, -1]
    assert together.costs[0][0] == together.costs[0][2]
    assert dataclasses.replace(together.costs[0][2], seconds={}) == dataclasses.replace(alone.costs[0][0], seconds={})


def test_choices_are_the_coarse_memories(world: SearchWorld) -> None:
    batch = next(world.batches("test"))
    for features, width in (("texts", WIDTH), ("frames", WIDTH), ("both", 2 * WIDTH)):
        agent = world.agent()
        agent.settings = dataclasses.replace(agent.settings, entry_features=features)
        prepared({"a": agent}, world.module().setting)
        choices = agent.choices(batch, world)
        assert choices.features.shape == (4, SPANS, width)
        assert choices.queries.shape == (4, 1, width)
        assert choices.mask.all()
    assert [len(c) for c in choices.candidates] == [SPANS] * 4
    mean = torch.nn.functional.normalize(batch.features[1, 10:20], dim=-1).mean(0)
    torch.testing.assert_close(choices.features[1, 1, WIDTH:], torch.nn.functional.normalize(mean, dim=-1))
    text = agent.inquiry(batch, 1, world)
    text.describe_all()
    own = world.embed_texts([text.tree.at(0)[1].text])[0]
    torch.testing.assert_close(choices.features[1, 1, :WIDTH], torch.nn.functional.normalize(own, dim=-1))
    assert any(word in text.tree.at(0)[1].text for word in THINGS.values())
    right = world.evidence[batch.questions[1].sample_id]
    evidence = choices.candidates[1].within(*batch.questions[1].evidence_s[0])
    assert evidence.nonzero().flatten().tolist() == [right]


def test_a_video_that_cannot_be_decoded_teaches_nothing(world: SearchWorld) -> None:
    world.undecodable = {"test1"}
    rollouts, _ = rolled_out(world, [[[0, 1, 2], [3, 4, 5]]] * 4)
    assert rollouts.undecoded == (1,)
    assert rollouts.option_log_probs[1].isinf().all()
    assert rollouts.texts[1] == ["", ""]
    module = world.module()
    assert module.score_rewards(rollouts).sampler[1].isnan().all()
    assert module.score_rewards(rollouts).sampler[0].isfinite().all()


def test_what_a_policy_over_memories_refuses(world: SearchWorld) -> None:
    deep = [Scopes(levels=[*SCOPES[0].levels, Level(scope_s=10, fps=0.1)])]
    with pytest.raises(ValueError, match="below which is one finer level, and scopes has 3"):
        world.module(agent=world.agent(scopes=deep))
    with pytest.raises(ValueError, match="leave one of them out"):
        world.agent(sampler=TopK(), localizer=RandomLocalizer())
    with pytest.raises(ValueError, match="leave its own sampler out"):
        world.module(agent=world.agent(sampler=TopK()))
    with pytest.raises(ValueError, match="evolve has to be 'sampler'"):
        world.module(evolve="joint", rewards={"a": next(iter(world.module().objective.reward_sum.terms.values()))})
    agent, batch = world.agent(), next(world.batches("test"))
    prepared({"a": agent}, world.module().setting)
    batch.queries = torch.empty(4, 0, 0)
    with pytest.raises(ValueError, match="has to be one of images and texts"):
        agent.choices(batch, world)
    rollouts, _ = rolled_out(world, [[[0, 1, 2]]] * 4)
    rollouts.costs = None
    with pytest.raises(ValueError, match="this reward is for an agent"):
        CallCost()(rollouts)


# ---- learning ----


def replies_of(system: VideoSystem, world: SearchWorld) -> list[Reply]:
    return [reply for batch in world.batches("test") for reply in system.answer(batch, world)]


def right(replies: list[Reply]) -> float:
    return sum(r.answer.option_log_probs[r.answer.answer_index] == 0 for r in replies) / len(replies)


def calls(replies: list[Reply]) -> float:
    return sum(reply.cost.calls for reply in replies) / len(replies)


def test_it_learns_where_to_look_from_answers_alone(tmp_path: Path) -> None:
    """On questions about other videos than it was trained on, beside no training, chance and the evidence itself."""
    world = SearchWorld(tmp_path)
    module = world.module()
    quiet_trainer(50).fit(module, datamodule=world)
    systems = dict(module.systems)
    systems["chance"] = VideoLucy(like="agent", sampler=Random(), max_rounds=3)
    systems["evidence"] = VideoLucy(like="agent", localizer=OracleLocalizer(), max_rounds=3)
    prepared(systems, module.setting)
    found = {name: replies_of(systems[name], world) for name in ("before", "after", "chance", "evidence")}
    assert right(found["evidence"]) == 1.0
    assert right(found["after"]) >= 0.9
    assert right(found["chance"]) < 0.7
    assert right(found["before"]) < right(found["after"])
    assert calls(found["after"]) < calls(found["before"])
    assert calls(found["evidence"]) <= calls(found["after"]) <= calls(found["evidence"]) + 3


def test_a_checkpoint_of_a_localizer_becomes_a_system_again(tmp_path: Path) -> None:
    from modules.evaluation.evaluation_module import EvaluationModule

    world = SearchWorld(tmp_path, num_videos=4, batch_size=4)
    module = world.module()
    trainer = quiet_trainer(2)
    trainer.fit(module, datamodule=world)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert {name.partition(".")[0] for name in saved["state_dict"]} == {"sampler"}
    fresh = TSPOSampler(dim=WIDTH, num_heads=4, window=1, temperature=0.9)
    own = world.agent(sampler=fresh)
    evaluation = EvaluationModule(mllm=module.mllm, systems={"sampler": own}, num_frames=3)
    assert own.sampler_place is not None
    evaluation.take(saved)
    assert fresh.temperature == module.sampler.temperature
    for name, weight in module.sampler.named_parameters():
        torch.testing.assert_close(fresh.get_parameter(name), weight)
    looked = [[r.answer.timestamps_s for r in replies_of(s, world)] for s in (own, module.systems["after"])]
    assert looked[0] == looked[1]
