"""``lightning check RECIPE --memory --time``: the arithmetic as text."""

from __future__ import annotations

import dataclasses

from omegaconf import DictConfig

from recipes.launcher.cost.gpus import GPU
from recipes.launcher.cost.memory import Phase, checkpoint_bytes, on_host, phases
from recipes.launcher.cost.time import Utilisation, save_seconds, step_parts
from recipes.launcher.cost.workload import Workload, workload_of
from recipes.launcher.merge import resolve

_GIB = 2**30
_SMALL = 0.05  # GiB; parts below it are not named
_COUNTS = (1, 2, 4, 8, 16, 32)


def report(merged: DictConfig, source: str, *, memory: bool, gpu: GPU | None, time: bool) -> str:
    """What a recipe takes, as text.

    Args:
        merged, source: the recipe and its name.
        memory, time: what to tell.
        gpu: to tell it of; memory needs none.

    Raises:
        ValueError: it has no MLLM, or one whose shape is not known.
    """
    work = workload_of(resolve(merged, source))
    lines = ["", *_models(work)]
    if memory:
        lines += ["", *memory_lines(work, gpu)]
    if time:
        assert gpu is not None
        lines += ["", *time_lines(work, gpu)]
    return "\n".join(lines)


def _models(work: Workload) -> list[str]:
    lines = []
    model, encoder = work.model, work.encoder
    if model is None:
        lines.append("mllm        answers on a server; its memory is the server's")
    else:
        language, vision = model.decoder.num_parameters, model.tower.num_parameters
        lora = f", {model.num_adapters:,} of LoRA layers" if model.num_adapters else ""
        lines.append(
            f"mllm        {model.name}: {model.num_parameters:,} parameters ({language:,} language, {vision:,} vision)"
            f", {model.bytes_each} bytes each{lora}"
        )
    lines.append(f"sampler     {work.sampler.num_parameters:,} parameters, 4 bytes each")
    if encoder is not None:
        lines.append(f"encoder     {encoder.name}: {encoder.num_parameters:,} parameters, 4 bytes each")
        if encoder.condenser is not None:
            condenser = encoder.condenser
            lines.append(f"condenser   {condenser.num_parameters:,} parameters, {condenser.bytes_each} bytes each")
    else:
        lines.append("encoder     none, or of a kind whose shape is not known: not counted")
    lines.append(f"strategy    {work.strategy}")
    if model is not None:
        shown = "frames" if encoder is None or encoder.condenser is None else "memories"
        lines.append(
            f"a row       {work.num_frames} {shown} x {model.frame_tokens:g} tokens + {work.prompt_tokens} = "
            f"{work.answer_length:,} tokens; {work.num_rows} rows a step and GPU, {work.rows} a forward"
        )
    return lines


def memory_lines(work: Workload, gpu: GPU | None) -> list[str]:
    """Phases with what lies where, and the largest on other numbers of GPUs."""
    found = phases(work)
    width = max(len(p.name) for p in found)
    lines = ["memory a GPU in GiB (2^30 bytes), by phase: arithmetic, not a measurement"]
    lines += [f"  {p.name:<{width}}  {p.total / _GIB:6.1f}   {_named(p.parts)}" for p in found]
    lines.append(f"  largest     {_most(found) / _GIB:.1f} on {work.strategy}{_fits(_most(found), gpu)}")
    if work.strategy.shards:
        others = [(n, _most(phases(work.on(n)))) for n in _COUNTS]
        lines.append("  on other numbers of GPUs   " + ", ".join(f"{n}: {most / _GIB:.1f}" for n, most in others))
    host = on_host(work)
    if any(host.values()):
        lines.append(f"  host memory a rank         {sum(host.values()) / _GIB:.1f}   {_named(host)}")
    if checkpoint_bytes(work):
        lines.append(f"  a checkpoint on disk       {checkpoint_bytes(work) / _GIB:.1f}")
    return lines


def _most(found: list[Phase]) -> float:
    return max(p.total for p in found)


def _named(parts: dict[str, float]) -> str:
    large = {name: size / _GIB for name, size in parts.items() if size / _GIB >= _SMALL}
    return " + ".join(f"{name} {size:.1f}" for name, size in sorted(large.items(), key=lambda p: -p[1]))


def _fits(most: float, gpu: GPU | None) -> str:
    if gpu is None:
        return ""
    room = 1e9 * gpu.memory_gb
    return f"; {gpu.name} has {room / _GIB:.1f}" + (": does not fit" if most > room else "")


def time_lines(work: Workload, gpu: GPU) -> list[str]:
    """Seconds of a step by part."""
    reached, parts = Utilisation(), step_parts(work, gpu)
    if not parts:
        return ["time        a server answers: nothing to tell"]
    width = max(len(p.name) for p in parts)
    lines = [f"time of a step on one {gpu.name}: arithmetic, not a measurement"]
    lines += [f"  {p.name:<{width}}  {p.seconds:7.2f} s   {_work(p.flops, p.bytes_moved)}" for p in parts]
    seconds, tokens = sum(p.seconds for p in parts), sum(p.tokens for p in parts)
    flops = sum(p.flops for p in parts)
    lines.append(
        f"  {'together':<{width}}  {seconds:7.2f} s   {tokens / seconds:,.0f} tokens/s a GPU, "
        f"{100 * flops / seconds / (1e12 * gpu.peak_tflops):.0f} % of the card's peak"
    )
    assumed = ", ".join(f"{field.name} {getattr(reached, field.name):g}" for field in dataclasses.fields(reached))
    peaks = f"{gpu.peak_tflops:g} TFLOP/s, {gpu.bandwidth_gb_s:g} GB/s and, between cards, {gpu.link_gb_s:g} GB/s"
    lines.append(f"  assumed shares of {peaks}: {assumed}")
    lines.append("  not in it: decoding of video on the host, Python and the start of kernels, waiting for other ranks")
    if checkpoint_bytes(work) > _GIB:
        lines.append(f"  a save takes {save_seconds(work):.0f} s at 0.5 GB/s; --warn-before has to be longer")
    return lines


def _work(flops: float, moved: float) -> str:
    return " and ".join([f"{flops / 1e12:,.1f} TFLOP"] * (flops > 0) + [f"{moved / 1e9:,.1f} GB"] * (moved > 0))
