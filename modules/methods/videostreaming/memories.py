"""Memories of clips as an encoder's output: candidates of which a sampler may choose, made once for all questions.

A video's frames come in order and are condensed as they come, so a stream of any length takes the memory of one clip
beside what is kept of the clips before.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from modules.checkpoints.weights import read_weights
from modules.encoders.base import FrameEncoder, VideoReading, weights_digest
from modules.files.paths import InputPath
from modules.methods.videostreaming.condenser import ClipCondenser, Stream
from modules.methods.videostreaming.frame_tokens import MergedPatches
from modules.records import Candidates

CODE_VERSION = 2


class ClipMemories(FrameEncoder):
    """Frame tokens and the condenser that makes memories of them, frozen.

    A clip's features are (1 + F P, W): its indicator, then the tokens of its memory.

    Args:
        patches: frame tokens.
        condenser: makes memories of them.
        weights: safetensors file of the condenser's trained weights; those it was built with by default.
    """

    def __init__(self, *, patches: MergedPatches, condenser: ClipCondenser, weights: InputPath | None = None) -> None:
        super().__init__()
        self.patches, self.condenser = patches, condenser.eval().requires_grad_(False)
        if weights is not None:
            load_condenser(condenser, weights)

    @property
    def key(self) -> str:
        condenser = self.condenser
        prompt = hashlib.sha256(str(condenser.time_prompt).encode()).hexdigest()[:6]
        shape = f"{condenser.clip_frames}x{condenser.summaries_per_frame}-{prompt}"
        shape += "" if condenser.propagate else "-apart"
        return f"memories-{weights_digest(condenser)}-{shape}-{self.patches.key}-v{CODE_VERSION}"

    def encode_frames(self, frames: Tensor) -> Tensor:
        raise ValueError("frames are condensed clip by clip and in order, none by itself: ClipMemories.reading()")

    def reading(self) -> ClipReading:
        return ClipReading(self.patches, self.condenser)


class ClipReading(VideoReading):
    """One video, condensed as its frames come.

    Args:
        patches: frame tokens.
        condenser: makes memories of them.
    """

    def __init__(self, patches: MergedPatches, condenser: ClipCondenser) -> None:
        self.patches, self.condenser = patches, condenser
        self.stream, self.features = Stream(), list[Tensor]()
        self._tokens: list[Tensor] = []
        self._times_s: list[float] = []

    @torch.no_grad()
    def add(self, frames: Tensor, timestamps_s: Tensor) -> None:
        """Takes the next frames; every F of them become a memory."""
        self._tokens += self.patches.encode_frames(frames)
        self._times_s += timestamps_s.tolist()
        size = self.condenser.clip_frames
        while len(self._tokens) > size:  # the frame behind a clip says when the clip ends
            self._condense(size)

    @torch.no_grad()
    def end(self, candidates: Candidates) -> tuple[Candidates, Tensor]:
        """Condenses the frames that are left, and gives the clips as candidates."""
        if self._tokens:
            self._condense(len(self._tokens))
        return candidates.in_clips(self.condenser.clip_frames), torch.stack(self.features)

    def _condense(self, num_frames: int) -> None:
        times_s = self._times_s[: num_frames + 1]
        spacing_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 0.0
        tokens, device = torch.stack(self._tokens[:num_frames]), self.condenser.layers.device
        del self._tokens[:num_frames], self._times_s[:num_frames]
        end_s = times_s[num_frames] if len(times_s) > num_frames else times_s[-1] + spacing_s
        memory, self.stream = self.condenser.step(tokens[None].to(device), [times_s[0]], [end_s], self.stream)
        self.features.append(torch.cat([memory.indicator[:, None], memory.tokens], 1)[0].half().cpu())


def condenser_state(condenser: ClipCondenser) -> dict[str, Tensor]:
    """Parameters by name, each once: an output head that shares the embeddings is left out."""
    return {name: parameter.data for name, parameter in condenser.named_parameters()}


def load_condenser(condenser: ClipCondenser, path: str) -> None:
    """Loads trained weights.

    Raises:
        ValueError: they are of another condenser, or the file is damaged or holds none.
    """
    state, own = read_weights(path), condenser_state(condenser)
    other = [n for n in own if n not in state or state[n].shape != own[n].shape]
    if other:
        found = tuple(state[other[0]].shape) if other[0] in state else "none"
        raise ValueError(
            f"{path} is of another condenser: {len(other)} of its {len(own)} tensors differ, {other[0]} among them, "
            f"which is {found} there and {tuple(own[other[0]].shape)} here"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])
