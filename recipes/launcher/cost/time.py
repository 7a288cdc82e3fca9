"""Time of a step on a named GPU: arithmetic from FLOPs and bytes, each part at the slower of the two.

A matrix product of a token with n parameters is 2 n FLOPs; causal attention of L tokens adds 2 L A FLOPs a token and
layer (A query heads together). A backward pass is twice its forward where all weights are trained, and once where only
LoRA layers are (inputs' gradients alone); checkpointed activations cost another forward. Generation reads all weights
and the cache once a token. Decoding of video on the host, Python and waiting for other ranks are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from recipes.launcher.cost.gpus import GPU
from recipes.launcher.cost.memory import checkpoint_bytes
from recipes.launcher.cost.workload import OPTIONS, Workload


@dataclass(frozen=True)
class Utilisation:
    """Shares of a card's peaks that are reached: our assumptions; `make gpu` measures them."""

    matrices: float = 0.45
    """Of peak FLOP/s in long forwards and backwards of the language model."""
    tower: float = 0.25
    """Of peak FLOP/s in the vision tower, whose windows are small."""
    memory: float = 0.6
    """Of the bandwidth, in generation and in the optimizer's step."""
    link: float = 0.7
    """Of the link to other cards."""


@dataclass(frozen=True)
class Part:
    """One part of a step on one GPU."""

    name: str
    flops: float
    bytes_moved: float
    seconds: float
    tokens: float = 0.0
    """Of the language model, read or written."""


def step_parts(work: Workload, gpu: GPU, reached: Utilisation | None = None) -> list[Part]:
    """Parts of one optimizer step's batch, in their order; empty where a server answers."""
    reached = reached or Utilisation()
    if work.model is None:
        return []
    parts = [] if work.stores_tokens else [_encode(work, gpu, reached)]
    if work.query_tokens:
        parts += _generate(work, gpu, reached, "write queries", work.query_length, work.query_tokens)
    if work.scores_options:
        rows = work.num_rows * (OPTIONS if work.options_are_texts else 1)
        parts.append(
            _matrices(
                "score options",
                _forward_flops(work, work.answer_length) * rows,
                gpu,
                reached,
                rows * work.answer_length,
            )
        )
    if work.answer_tokens:
        parts += _generate(work, gpu, reached, "answer", work.answer_length, work.answer_tokens)
    if work.trains_sampler:
        parts.append(_sampler(work, gpu, reached))
    if work.trains_model:
        parts += [_update(work, gpu, reached), _optimizer(work, gpu, reached)]
    exchanged = _exchanged(work)
    if exchanged:
        parts.append(Part("exchange between GPUs", 0, exchanged, exchanged / (1e9 * gpu.link_gb_s * reached.link)))
    return parts


def _matrices(name: str, flops: float, gpu: GPU, reached: Utilisation, tokens: float) -> Part:
    return Part(name, flops, 0, flops / (1e12 * gpu.peak_tflops * reached.matrices), tokens)


def _encode(work: Workload, gpu: GPU, reached: Utilisation) -> Part:
    assert work.model is not None
    tower = work.model.tower
    patches = work.num_questions * work.union * tower.patches
    flops = patches * 2 * tower.num_parameters
    return Part("encode frames", flops, 0, flops / (1e12 * gpu.peak_tflops * reached.tower))


def _forward_flops(work: Workload, length: int) -> float:
    """Of a row of so many tokens through the language model; of the head only the last."""
    assert work.model is not None
    decoder = work.model.decoder
    layers = decoder.num_parameters - decoder.vocab * decoder.hidden
    return length * (2 * layers + 2 * length * decoder.heads * decoder.num_layers)


def _generate(work: Workload, gpu: GPU, reached: Utilisation, name: str, length: int, new_tokens: int) -> list[Part]:
    assert work.model is not None
    decoder, each = work.model.decoder, work.model.bytes_each
    prefill = _matrices(
        f"{name}: prefill", work.num_rows * _forward_flops(work, length), gpu, reached, work.num_rows * length
    )
    cache = 2 * decoder.kv_heads * each * decoder.num_layers * work.num_rows * (length + new_tokens / 2)
    forwards = -(-work.num_rows // work.rows)
    moved = new_tokens * (forwards * each * decoder.num_parameters + cache)
    flops = work.num_rows * new_tokens * 2 * decoder.num_parameters
    seconds = max(
        moved / (1e9 * gpu.bandwidth_gb_s * reached.memory), flops / (1e12 * gpu.peak_tflops * reached.matrices)
    )
    return [prefill, Part(f"{name}: tokens", flops, moved, seconds, work.num_rows * new_tokens)]


def _update(work: Workload, gpu: GPU, reached: Utilisation) -> Part:
    assert work.model is not None
    lengths = [work.answer_length + work.answer_tokens]
    if work.query_tokens:
        lengths.append(work.query_length + work.query_tokens)
    backward = 1 if work.model.num_adapters else 2
    passes = 1 + backward + work.checkpoints_activations
    flops = passes * work.num_rows * sum(_forward_flops(work, length) for length in lengths)
    return _matrices("update: forward and backward", flops, gpu, reached, work.num_rows * sum(lengths))


def _sampler(work: Workload, gpu: GPU, reached: Utilisation) -> Part:
    """Forward and backward of the sampler over all that it reads, in float32."""
    flops = 6 * work.sampler.num_trained * (work.question_positions or work.positions)
    return Part("sampler", flops, 0, flops / (1e12 * gpu.float32_tflops * reached.matrices))


def _optimizer(work: Workload, gpu: GPU, reached: Utilisation) -> Part:
    """AdamW reads weight, gradient and two moments, and writes three of them."""
    share = work.strategy.num_gpus if work.strategy.shards else 1
    moved = 28 * work.num_trained / share
    return Part("update: optimizer", 0, moved, moved / (1e9 * gpu.bandwidth_gb_s * reached.memory))


def _exchanged(work: Workload) -> float:
    """Bytes a GPU receives: the model once for rollouts, twice a part for the loss, gradients once."""
    if work.model is None or work.strategy.num_gpus == 1:
        return 0.0
    others = 1 - 1 / work.strategy.num_gpus
    trained, whole = work.num_trained, work.model.bytes_each * work.model.num_parameters
    if work.strategy.name == "zero3" and work.trains_model:
        parts = -(-work.num_rows // work.rows)
        return others * (
            whole * (1 + (2 + work.checkpoints_activations) * parts) + work.model.bytes_each * trained * parts
        )
    if work.strategy.name == "zero2":
        return others * 2 * work.model.bytes_each * trained
    return others * 2 * 4 * (trained + work.sampler.num_trained)


def save_seconds(work: Workload, disk_gb_s: float = 0.5) -> float:
    """Of one checkpoint, at a disk's speed."""
    return checkpoint_bytes(work) / (1e9 * disk_gb_s)
