"""Cards by name: what their data sheets say. Peaks are of dense bfloat16 with float32 sums."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GPU:
    """One card."""

    name: str
    peak_tflops: float
    """Of dense bfloat16."""
    float32_tflops: float
    """Without tensor cores, as samplers compute."""
    bandwidth_gb_s: float
    """Of its memory."""
    memory_gb: float
    """In 10^9 bytes, as sold."""
    link_gb_s: float
    """To the cards beside it, in one direction: half of what data sheets add up."""


# NVIDIA's data sheets of A100, H100, H200, L40S and DGX B200; GeForce RTX 4090: whitepaper of the Ada architecture
GPUS = {
    "a100": GPU("A100 SXM 80 GB", 312, 19.5, 2039, 80, 300),
    "a100-40": GPU("A100 SXM 40 GB", 312, 19.5, 1555, 40, 300),
    "a800": GPU("A800 SXM 80 GB", 312, 19.5, 2039, 80, 200),
    "h100": GPU("H100 SXM", 989, 67, 3350, 80, 450),
    "h200": GPU("H200 SXM", 989, 67, 4800, 141, 450),
    "b200": GPU("B200 SXM", 2250, 80, 8000, 180, 900),
    "l40s": GPU("L40S", 362, 91.6, 864, 48, 32),  # PCIe 4.0, no NVLink
    "rtx4090": GPU("GeForce RTX 4090", 165, 82.6, 1008, 24, 32),
}


def gpu_named(name: str) -> GPU:
    """A card of the table.

    Raises:
        ValueError: it is not in it.
    """
    if name.lower() not in GPUS:
        raise ValueError(f"--gpu {name}: known are {', '.join(GPUS)}; recipes/launcher/cost/gpus.py is the table")
    return GPUS[name.lower()]


def gpu_of_device(device_name: str) -> GPU | None:
    """The card that a device calls itself, e.g. ``NVIDIA H100 80GB HBM3``; None where the table has it not."""
    flat = device_name.lower().replace(" ", "").replace("-", "")
    found = [key for key in GPUS if key.replace("-40", "") in flat]
    if "a100" in found:
        return GPUS["a100-40" if "40gb" in flat else "a100"]
    return GPUS[found[0]] if found else None
