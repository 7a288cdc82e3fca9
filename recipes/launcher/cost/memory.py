"""Memory of a GPU, phase by phase, from shapes: which tensors are alive at the largest moment of each.

Letters: P parameters of the MLLM, Pt of them trained, Pf frozen, N GPUs, b bytes of a weight as loaded, R rows of a
forward of L tokens, H hidden, A query heads together, V vocabulary, F width of the MLP.

Held all the time (`held`):

=========  =====================  =======================  =========  ============  =============
strategy   frozen weights         trained weights          masters    moments       gradients
=========  =====================  =======================  =========  ============  =============
one, ddp   b Pf                   4 Pt (float32)           0          8 Pt          4 Pt (ddp: 8)
zero2      b Pf                   b Pt                     4 Pt / N   8 Pt / N      4 Pt / N
zero3      b Pf / N               b Pt / N                 4 Pt / N   8 Pt / N      4 Pt / N
=========  =====================  =======================  =========  ============  =============

DDP's buckets hold the gradients a second time. Offloaded states lie on the host. The sampler is float32 and whole on
every GPU: 4 bytes a parameter; where it is trained, 4 more of a copy as it was, and 12 more of what is trained. Without
autograd a layer needs `_passing` bytes a token at its widest, with it `_kept` stay for the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from modules.mllms.token_log_probs import LOGITS_PER_PIECE
from recipes.launcher.cost.condensers import Condenser
from recipes.launcher.cost.decoders import Decoder
from recipes.launcher.cost.workload import OPTIONS, Workload

_ZERO_BUCKET = 200_000_000  # numbers: Lightning's reduce_bucket_size
_ZERO_LIVE = 1_000_000_000  # numbers: DeepSpeed's stage3_max_live_parameters
_ENCODER_BYTES = 4


@dataclass(frozen=True)
class Phase:
    """One stretch of a step, or of what comes before it."""

    name: str
    parts: dict[str, float] = field(default_factory=dict)
    """Bytes by what they are."""

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def phases(work: Workload) -> list[Phase]:
    """Every phase in its order."""
    found = [_extract(work)]
    if work.model is not None:
        if work.query_tokens:
            found.append(_write(work))
        found += [_encode(work), _answer(work)]
    if work.trains_sampler:
        found += [_loss(work), _step(work)]
    return found


def held(work: Workload) -> dict[str, float]:
    """Bytes that lie on a GPU from step to step, by what they are; without gradients."""
    parts: dict[str, float] = {}
    if work.model is not None:
        trained, frozen = work.num_trained, work.model.num_parameters - work.num_trained
        if work.model.num_adapters:
            frozen = work.model.num_parameters
        parts |= _weights(work, trained, frozen)
        parts["copies of the model as it was"] = work.num_copies * work.model.num_parameters * work.model.bytes_each
    moments = 8 * work.sampler.num_trained * work.trains_sampler
    parts["sampler"] = 4 * work.sampler.num_parameters + moments
    parts["sampler as it was"] = 4 * work.sampler.num_parameters * work.trains_sampler  # it is compared with
    if work.query_tokens and work.encoder is not None:
        parts["encoder"] = _ENCODER_BYTES * work.encoder.num_parameters  # it reads the queries
    return parts


def _weights(work: Workload, trained: int, frozen: int) -> dict[str, float]:
    assert work.model is not None
    strategy, each = work.strategy, work.model.bytes_each
    ranks = strategy.num_gpus
    if not strategy.shards:
        return {"frozen weights": each * frozen, "trained weights": 4 * trained, "moments": 8 * trained}
    share = ranks if strategy.name == "zero3" else 1
    on_gpu, states_on_gpu = not strategy.offload_parameters, not strategy.offload_optimizer
    return {
        "frozen weights": on_gpu * each * frozen / share,
        "trained weights": on_gpu * each * trained / share,
        "master weights": states_on_gpu * 4 * trained / ranks,
        "moments": states_on_gpu * 8 * trained / ranks,
    }


def gradients(work: Workload) -> float:
    """Bytes of what backward passes leave, of sampler and MLLM."""
    sampler, trained, strategy = work.sampler.num_trained, work.num_trained, work.strategy
    if strategy.name == "one":
        return 4 * (sampler + trained)
    if strategy.name == "ddp":
        return 8 * (sampler + trained)
    bucket = min(_ZERO_BUCKET, trained) * (work.model.bytes_each if work.model else 0)
    return 4 * sampler + bucket + (not strategy.offload_optimizer) * 4 * trained / strategy.num_gpus


def on_host(work: Workload) -> dict[str, float]:
    """Bytes of host memory a rank, beyond the program's own."""
    if work.model is None:
        return {}
    trained, strategy = work.num_trained, work.strategy
    parts = {"one tensor of a checkpoint": 4.0 * work.model.largest_layer * (trained > 0)}
    if strategy.offload_optimizer:
        parts["optimizer states and gradients"] = 16 * trained / strategy.num_gpus
    if strategy.offload_parameters:
        parts["parameters"] = work.model.bytes_each * work.model.num_parameters / strategy.num_gpus
    return parts


def checkpoint_bytes(work: Workload) -> float:
    """Of a checkpoint's file: what is trained and its two moments, in float32."""
    return 12 * (work.num_trained + work.sampler.num_trained * work.trains_sampler)


# ---- phases ----


def _extract(work: Workload) -> Phase:
    """Before the first step: the encoder, and the MLLM where its frame tokens are stored."""
    parts: dict[str, float] = {}
    if work.encoder is not None:
        encoder = work.encoder
        parts["encoder"] = _ENCODER_BYTES * encoder.num_parameters
        tokens = encoder.frames_per_forward * encoder.patches
        activations: float = _ENCODER_BYTES * tokens * (3 * encoder.hidden + 2 * encoder.mlp)
        if encoder.condenser is not None:
            condenser = encoder.condenser
            parts["condenser"] = condenser.layers.num_parameters * condenser.bytes_each
            parts["condenser"] += 4 * (condenser.num_parameters - condenser.layers.num_parameters)
            activations = max(activations, _condense(condenser, encoder.patches // 4))
        parts["encoder's activations"] = activations
    if work.model is not None and work.stores_tokens:
        parts["model"] = work.model.bytes_each * work.model.num_parameters
        parts["tower's activations"] = _tower(work, work.frames_per_forward)
    return Phase("extract", parts)


def _condense(condenser: Condenser, frame_tokens: int) -> float:
    """Activations of the layers for one clip, or of the input MLP before them, whichever are more."""
    tokens, each, hidden = condenser.length(frame_tokens), condenser.bytes_each, condenser.layers.hidden
    inputs = 4 * condenser.clip_frames * frame_tokens * (condenser.token_dim + 3 * hidden)
    return max(inputs, tokens * (4 * hidden + _passing(condenser.layers, each)) + _masks(2, tokens, 4) / 2)


def _write(work: Workload) -> Phase:
    return Phase("write queries", _rollout(work) | _generation(work, work.query_length, work.query_tokens))


def _encode(work: Workload) -> Phase:
    if work.stores_tokens:
        return Phase("read frame tokens", _rollout(work))
    frames = min(work.union, work.frames_per_forward)
    return Phase("encode frames", _rollout(work) | {"tower's activations": _tower(work, frames)})


def _answer(work: Workload) -> Phase:
    parts, length = {}, work.answer_length
    if work.answer_tokens:
        parts = _generation(work, length, work.answer_tokens)
    if work.scores_options:
        rows = work.rows * (OPTIONS if work.options_are_texts else 1)
        scored = {"activations": _forward(work, rows, length), "logits": rows * _vocabulary(work) * 8.0}
        parts = max(parts, scored, key=lambda p: sum(p.values()))
    return Phase("answer", _rollout(work) | parts)


def _loss(work: Workload) -> Phase:
    """The largest backward: of the sampler, and of one part of what the MLLM said, turn by turn."""
    parts = held(work) | {"gradients": gradients(work), "frame tokens": _frame_tokens(work)}
    parts["sampler's activations"] = 4 * work.positions * work.sampler.activations
    if work.sampler.question_layers is not None:
        layers = work.sampler.question_layers
        kept = layers.num_layers * _kept(layers, 4) + 4 * layers.hidden
        parts["sampler's activations"] += work.question_positions * kept
    if work.trains_model:
        turns = [(work.answer_length, work.answer_tokens)]
        if work.query_tokens:  # both turns of a trajectory are one loss, so both graphs are alive
            turns.append((work.query_length, work.query_tokens))
        parts["activations"] = (
            sum(_graph(work, length + said) for length, said in turns)
            + max(_layer(work, length + said) for length, said in turns) * work.checkpoints_activations
        )
        pieces = (min(said * work.rows * _vocabulary(work), LOGITS_PER_PIECE) for _, said in turns)
        parts["logits"] = max(pieces) * 16.0  # of one piece: logits, their softmax, and the gradients of both
        parts["gathered layers"] = _live(work)
        parts["casts"] = _casts(work)
    return Phase("loss", parts)


def _step(work: Workload) -> Phase:
    """AdamW works on all tensors of a GPU at once, and needs room for one more of each; on a CPU one by one."""
    trained = work.num_trained / (work.strategy.num_gpus if work.strategy.shards else 1)
    on_gpu = 0 if work.strategy.offload_optimizer else trained
    if work.on_cpu:
        on_gpu = min(on_gpu, work.model.largest_layer if work.model else 0)
    room = 4 * (on_gpu + work.sampler.num_trained)
    parts = held(work) | {"gradients": gradients(work), "AdamW's room": room}
    if work.strategy.name == "zero3":  # layers are scattered again only now, and gradients become one tensor
        parts |= {
            "gathered layers": _live(work),
            "gradients as one tensor": 4.0 * trained * (not work.strategy.offload_optimizer),
        }
    return Phase("step", parts)


# ---- what is alive in them ----


def _rollout(work: Workload) -> dict[str, float]:
    """During rollouts: what is held, a scattered model whole beside its share, frame tokens, DeepSpeed's buffers."""
    parts = held(work) | {"frame tokens": _frame_tokens(work)}
    if work.strategy.name == "zero3" and work.model is not None and work.trains_model:
        parts["gathered model"] = work.model.bytes_each * (work.model.num_parameters + work.model.num_adapters)
    if work.strategy.shards and work.trains_model:
        parts["gradients"] = gradients(work)
    return parts


def _frame_tokens(work: Workload) -> float:
    """Of the union of each question's frames, float32, and of its previews; of all batches of an update, if its loss
    reads them again."""
    if work.model is None:
        return 0.0
    num_batches = work.accumulate if work.trains_model else 1
    if work.encoder is not None and work.encoder.condenser is not None:  # those of all clips, and those that are shown
        each = work.encoder.condenser.memory_tokens + 1
        shown = num_batches * work.num_questions * (work.num_candidates + work.union)
        return 4 * shown * each * work.encoder.condenser.layers.hidden
    frames = work.num_questions * work.union * work.model.frame_tokens
    previews = work.num_questions * work.previews * work.preview_tokens
    return 4 * num_batches * (frames + previews) * work.model.token_width


def _tower(work: Workload, frames: int) -> float:
    """Activations of the vision tower for so many frames, and their pixels."""
    assert work.model is not None
    tower, each = work.model.tower, work.model.bytes_each
    values = 3 * tower.hidden + max(3 * tower.mlp, 5 * tower.hidden)
    return frames * tower.patches * (each * values + (4 + each) * tower.patch_values)


def _forward(work: Workload, rows: int, length: int) -> float:
    """Activations of a forward without graph: the rows' embedded frames, and the widest layer."""
    assert work.model is not None
    decoder, each = work.model.decoder, work.model.bytes_each
    tokens = rows * length
    embedded = 2 * tokens * decoder.hidden * each  # frames put in their places, beside the embeddings
    return embedded + tokens * _passing(decoder, each) + _masks(rows, length, each) + _casts(work)


def _generation(work: Workload, length: int, new_tokens: int) -> dict[str, float]:
    """The larger of prefill and last token: activations, cache of keys and values, logits of all tokens."""
    assert work.model is not None
    decoder, each, rows = work.model.decoder, work.model.bytes_each, work.rows
    a_layer = 2 * decoder.kv_heads * each * rows * (length + new_tokens)
    return {
        "activations": _forward(work, rows, length),
        "keys and values": (decoder.num_layers + 1) * a_layer,
        "logits": rows * decoder.vocab * 16.0,
    }


def _passing(decoder: Decoder, each: int) -> float:
    """Bytes a token of a layer without graph: residual, normed input, and the wider of attention and MLP."""
    attention = (
        5 * decoder.heads + 2 * decoder.kv_heads
    )  # queries before and after rotation, keys, values, their copies
    return each * (2 * decoder.hidden + max(3 * decoder.mlp, attention))


def _kept(decoder: Decoder, each: int) -> float:
    """Bytes a token of a layer that its backward pass needs.

    Two norms keep their input in float32, the normalised input and the output; attention its queries, keys, values
    (once for each query head) and output; the MLP its gate, activated gate, other half and product.
    """
    norms = 2 * (4 + 2 * each) * decoder.hidden
    return norms + each * (4 * decoder.heads + 4 * decoder.mlp)


def _masks(rows: int, length: int, each: int) -> float:
    """Attention's mask of a left-padded batch: truth values, and the same as numbers in the kernel."""
    return rows * length**2 * (1 + each) if rows > 1 else 0.0


def _graph(work: Workload, length: int) -> float:
    """What stays for the backward pass of one forward of the language model."""
    assert work.model is not None
    decoder, each = work.model.decoder, work.model.bytes_each
    a_layer = each * decoder.hidden if work.checkpoints_activations else _kept(decoder, each)
    num_layers = decoder.num_layers - 1  # the last is computed where it is read, at the answer's tokens
    return work.rows * length * (num_layers * a_layer + 2 * each * decoder.hidden) + _masks(work.rows, length, each)


def _layer(work: Workload, length: int) -> float:
    """What one layer computes again in its backward pass."""
    assert work.model is not None
    return work.rows * length * _kept(work.model.decoder, work.model.bytes_each)


def _live(work: Workload) -> float:
    """Parameters that ZeRO-3 has gathered at a time."""
    if work.strategy.name != "zero3" or work.model is None:
        return 0.0
    return work.model.bytes_each * min(_ZERO_LIVE, work.model.num_parameters)


def _casts(work: Workload) -> float:
    """Float32 weights that are trained, as autocast keeps them in the model's own precision during a forward."""
    assert work.model is not None
    return 0.0 if work.strategy.shards or work.model.bytes_each == 4 else work.model.bytes_each * work.num_trained


def _vocabulary(work: Workload) -> int:
    assert work.model is not None
    return work.model.decoder.vocab
