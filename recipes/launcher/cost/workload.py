"""What one step of a recipe asks for: how many rows, tokens and frames, of which models, on how many GPUs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from recipes.launcher.cost.shapes import FrameEncoder, Model, Network, class_of, encoder_of, model_of, sampler_of

PROMPT_TOKENS = 256  # of a question with its options; Video-MME's have about 100, with subtitles far more
CANDIDATES = 1024  # where the recipe does not bound them: 17 minutes at 1 a second
OPTIONS = 4  # of a multiple-choice question


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """Who holds what."""

    name: str
    """``one``, ``ddp``, ``zero2`` or ``zero3``."""
    num_gpus: int
    offload_optimizer: bool = False
    offload_parameters: bool = False

    @property
    def shards(self) -> bool:
        return self.name.startswith("zero")

    def __str__(self) -> str:
        words = {"one": "one process", "ddp": "DDP", "zero2": "ZeRO-2", "zero3": "ZeRO-3"}[self.name]
        off = ", parameters and optimizer states on the host" if self.offload_parameters else ""
        off = off or (", optimizer states on the host" if self.offload_optimizer else "")
        return f"{words} over {self.num_gpus} GPU{'s' * (self.num_gpus > 1)}{off}"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One step, on one GPU."""

    model: Model | None
    """None where a server answers."""
    sampler: Network
    encoder: FrameEncoder | None
    strategy: Strategy
    trains_sampler: bool
    trains_model: bool
    num_copies: int
    """Frozen copies of the MLLM as it was."""
    checkpoints_activations: bool
    num_questions: int
    num_rollouts: int
    num_frames: int
    num_candidates: int
    rows_per_forward: int
    frames_per_forward: int
    scores_options: bool
    options_are_texts: bool
    """Then each option is a row of its own."""
    answer_tokens: int
    """Generated, at most; 0 where options are scored alone."""
    query_tokens: int = 0
    """Generated in the turn before; 0 where no queries are written."""
    previews: int = 0
    preview_tokens: int = 0
    stores_tokens: bool = False
    accumulate: int = 1
    on_cpu: bool = False
    prompt_tokens: int = PROMPT_TOKENS

    @property
    def positions(self) -> int:
        """What the sampler reads of all questions."""
        return self.num_questions * self.num_candidates * (self.encoder.tokens if self.encoder else 1)

    @property
    def question_positions(self) -> int:
        """What the sampler reads of the words of all questions."""
        return self.num_questions * self.sampler.question_tokens

    @property
    def answer_length(self) -> int:
        """Tokens of a row that is answered, before its answer."""
        return self.prompt_tokens + round(self.num_frames * (self.model.frame_tokens if self.model else 0))

    @property
    def query_length(self) -> int:
        """Tokens of a row that queries are written on, before them."""
        return self.prompt_tokens + self.previews * self.preview_tokens

    @property
    def num_rows(self) -> int:
        """Of a batch."""
        return self.num_questions * self.num_rollouts

    @property
    def rows(self) -> int:
        """Of a forward."""
        return min(self.num_rows, self.rows_per_forward)

    @property
    def union(self) -> int:
        """Frames of one question that at least one rollout shows, at most."""
        return min(self.num_candidates, self.num_rollouts * self.num_frames)

    @property
    def num_trained(self) -> int:
        """Parameters of the MLLM that are trained."""
        if not self.trains_model or self.model is None:
            return 0
        return self.model.num_adapters or self.model.decoder.num_parameters

    def on(self, num_gpus: int) -> Workload:
        """The same on another number of GPUs."""
        return dataclasses.replace(self, strategy=dataclasses.replace(self.strategy, num_gpus=num_gpus))


def workload_of(recipe: dict[str, Any]) -> Workload:
    """Reads a checked and resolved recipe.

    Raises:
        ValueError: it runs no model, or one whose shape is not known.
    """
    body = recipe.get("job") or recipe.get("model") or {}
    arguments = body.get("init_args") or {}
    if not isinstance(arguments.get("mllm"), dict):
        raise ValueError("there is nothing to estimate: the recipe names no MLLM")
    data = (arguments.get("data") or recipe.get("data") or {}).get("init_args") or {}
    trains = str(body.get("class_path", "")).endswith(".EvolutionModule")
    joint, grpo = arguments.get("joint") or {}, arguments.get("grpo") or {}
    trains_model = trains and arguments.get("evolve") == "joint"
    node = arguments["mllm"]
    settings = node.get("init_args") or {}
    answering = arguments if recipe.get("job") else arguments.get("answering") or {}  # a job's keys have no group
    answers = _answers(arguments, answering, trains)
    encoder = encoder_of(data.get("encoder"))
    return Workload(
        model=model_of(node),
        sampler=_sampler(arguments),
        encoder=encoder,
        strategy=strategy_of(recipe.get("trainer") or {}),
        trains_sampler=trains,
        trains_model=trains_model,
        num_copies=int(trains_model and (joint.get("beta", 0) > 0 or bool(joint.get("keep_initial")))),
        checkpoints_activations=bool(joint.get("gradient_checkpointing")),
        num_questions=int(data.get("batch_size", 16) if trains else data.get("eval_batch_size", 32)),
        num_rollouts=int(grpo.get("num_generations", 8)) if trains else 1,
        num_frames=int(arguments.get("num_frames") or 8),
        num_candidates=_candidates(data, encoder),
        rows_per_forward=int(answering.get("rows_per_forward") or (256 if trains or arguments.get("answering") else 8)),
        frames_per_forward=int(settings.get("frames_per_forward", 256)),
        options_are_texts=(settings.get("prompt") or {}).get("answer_with", "letter") != "letter",
        stores_tokens=bool(answering.get("store_frame_tokens")),
        accumulate=int((arguments.get("optimizer") or {}).get("accumulate", 1)),
        on_cpu=(recipe.get("trainer") or {}).get("accelerator") == "cpu",
        **answers,
        **_queries(arguments, int(arguments.get("num_frames") or 8)),
    )


def _answers(arguments: dict[str, Any], answering: dict[str, Any], trains: bool) -> dict[str, Any]:
    """Whether options are scored, and how many tokens are generated."""
    tokens = int(answering.get("max_new_tokens") or 16)
    if not trains:
        generates, scores = bool(arguments.get("generate")), bool(arguments.get("score_options", True))
        return {"scores_options": scores, "answer_tokens": tokens if generates else 0}
    rewards = [_as_node(term["reward"]) for term in arguments["rewards"].values() if term is not None]
    terms = [class_of(r["class_path"])(**(r.get("init_args") or {})) for r in rewards]
    if arguments.get("evolve") == "joint":
        for term in terms:
            term.answers_are_drawn()
    generates = arguments.get("evolve") == "joint" or any(t.needs_text for t in terms)
    return {"scores_options": any(t.needs_options for t in terms), "answer_tokens": tokens if generates else 0}


def _as_node(reward: Any) -> dict[str, Any]:
    return {"class_path": reward} if isinstance(reward, str) else reward


def _queries(arguments: dict[str, Any], num_frames: int) -> dict[str, Any]:
    writer = arguments.get("query_writer")
    if not isinstance(writer, dict):
        return {}
    writing = writer.get("init_args", {})
    return {
        "query_tokens": int(writing.get("max_new_tokens", 256)),
        "preview_tokens": int(writing.get("preview_tokens", 32)),
        "previews": int(writing.get("num_previews") or max(1, num_frames // 2)),
    }


def _sampler(arguments: dict[str, Any]) -> Network:
    """Of a training; of an evaluation all of its samplers, as one."""
    if "systems" not in arguments:
        return sampler_of(arguments.get("sampler"))
    nodes = [node.get("init_args") or {} for node in arguments["systems"].values() if isinstance(node, dict)]
    parts = [sampler_of(node["sampler"]) for node in nodes if node.get("sampler") is not None]
    numbers = ("num_parameters", "num_trained", "activations", "question_tokens")
    layers = [part.question_layers for part in parts if part.question_layers is not None]
    return Network(
        **{name: sum(getattr(part, name) for part in parts) for name in numbers},
        question_layers=layers[0] if layers else None,
    )


def _candidates(data: dict[str, Any], encoder: FrameEncoder | None) -> int:
    """Frames, or clips where an encoder makes memories of them."""
    frames = _frames(data)
    return frames if encoder is None or encoder.condenser is None else -(-frames // encoder.condenser.clip_frames)


def _frames(data: dict[str, Any]) -> int:
    if data.get("max_candidates"):
        return int(data["max_candidates"])
    world = data.get("world")
    if isinstance(world, dict) and "duration_s" in world:
        return round(world["duration_s"] * float(data.get("candidate_fps", 1.0)))
    return CANDIDATES


def strategy_of(trainer: dict[str, Any]) -> Strategy:
    """Of a recipe's trainer; ``devices: auto`` counts as one."""
    devices, nodes = trainer.get("devices", 1), int(trainer.get("num_nodes") or 1)
    each = len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdigit() else 1
    given = trainer.get("strategy") or "auto"
    if not isinstance(given, dict):
        return Strategy(name="ddp" if each * nodes > 1 or "ddp" in given else "one", num_gpus=each * nodes)
    arguments = given.get("init_args") or {}
    if not str(given["class_path"]).endswith("ShardedStrategy"):
        return Strategy(name="ddp", num_gpus=each * nodes)
    return Strategy(
        name="zero3" if int(arguments.get("stage", 3)) == 3 else "zero2",
        num_gpus=each * nodes,
        offload_optimizer=bool(arguments.get("offload_optimizer")),
        offload_parameters=bool(arguments.get("offload_parameters")),
    )
