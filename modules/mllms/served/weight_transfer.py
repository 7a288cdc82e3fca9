"""How weights reach a vLLM server that draws rollouts: as files that it reads again, or from GPU to GPU.

Both pause the server, give the weights, drop what it had computed with the old ones, and let it go on. These are vLLM's
routes for reinforcement learning (0.32); they exist where the server is started with ``VLLM_SERVER_DEV_MODE=1``, which
is for networks that nobody else is on. Where something fails the server stays paused, so that it answers nothing with
half of new weights, and the error says what to do. (Seen on vLLM 0.32: a folder that is not there leaves parameters
without content, and a server that goes on dies of the next question.)
"""

from __future__ import annotations

import copy
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from modules.mllms.base import MLLM
from modules.mllms.loading import merge_adapters

Post = Callable[[str, Mapping[str, Any] | None], Any]
"""A route of the server's own, ``/pause?mode=wait``, and what to post (None gets it) -> the JSON of its answer.

Raises:
    ConnectionError: the server did not do it; names the route.
"""


_ADVICE = {
    "Error code: 404": "It has no such route: start it with VLLM_SERVER_DEV_MODE=1 (these routes are vLLM 0.32's).",
    "Weight transfer not configured": (
        """It was started without --weight-transfer-config '{"backend": "nccl"}'; WeightFiles needs none."""
    ),
    "Cannot access accelerator device": "It has no GPU, and NCCL goes from GPU to GPU; WeightFiles needs none.",
}
"""What vLLM 0.32 answers, and what to do about it."""


class WeightTransfer(ABC):
    """Gives a model's weights to a server."""

    def __call__(self, mllm: MLLM, version: int, post: Post) -> None:
        """Gives them; afterwards the server draws from them alone.

        Args:
            mllm: as it is now.
            version: updates that it has seen.
            post: asks the server.

        Raises:
            ConnectionError: the server did not take them; says what it answered, and what to do.
        """
        try:
            post("/pause?mode=wait", {})
            self.send(whole_model(mllm), version, post)
            post("/reset_prefix_cache", {})
            post("/update_weight_version", {"new_version": str(version)})
            post("/resume", {})
        except ConnectionError as error:
            advice = next((text for mark, text in _ADVICE.items() if mark in str(error)), self.advice)
            raise ConnectionError(
                f"the weights of update {version} did not reach the server: {error}. {advice} It may be paused with "
                "half of them: start it again before the run is resumed."
            ) from error

    @property
    def advice(self) -> str:
        """What to do about a failure that tells nothing of its own; one or two sentences."""
        return "The server's log says why."

    @abstractmethod
    def send(self, model: Any, version: int, post: Post) -> None:
        """Sends a transformers model, adapters merged, to a paused server."""


def whole_model(mllm: MLLM) -> Any:
    """The transformers model with its adapters merged into a copy; itself where it has none."""
    model: Any = mllm.model
    if not any("lora_" in name for name, _ in model.named_parameters()):
        return model
    merged = copy.deepcopy(model)
    merge_adapters(merged)
    return merged


class WeightFiles(WeightTransfer):
    """Writes safetensors into a folder that the server can read, and has it read them (``reload_weights``).

    Needs no GPU and no common network of GPUs. A folder is written whole before the server hears of it, and the one
    before it is removed afterwards.

    Args:
        folder: seen under the same path by trainer and server.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @property
    def advice(self) -> str:
        return f"It has to see {os.path.abspath(self.folder)} under the same path as the trainer does."

    def send(self, model: Any, version: int, post: Post) -> None:
        parent = Path(os.path.abspath(self.folder))
        whole = parent / f"version_{version}"
        shutil.rmtree(whole, ignore_errors=True)
        model.save_pretrained(whole)
        post("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(whole)}})
        for older in parent.glob("version_*"):
            if older != whole:
                shutil.rmtree(older, ignore_errors=True)


class NCCLBroadcast(WeightTransfer):
    """Broadcasts from the trainer's GPU to the server's, by vLLM's own trainer half, which has to be installed here.

    The server is started with ``--weight-transfer-config '{"backend": "nccl"}'``. Written against vLLM 0.32
    (``NCCLTrainerWeightTransferEngine``); where there is no GPU only its calls could be checked.

    Args:
        address: of this machine, as the server's machine sees it.
        port: free there.
    """

    def __init__(self, address: str, port: int) -> None:
        self.address, self.port = address, port
        self._engine: Any = None

    def send(self, model: Any, version: int, post: Post) -> None:
        if self._engine is None:
            self._engine = self._connected(model, post)
        self._engine.send_weights()

    def _connected(self, model: Any, post: Post) -> Any:
        """vLLM's trainer half, met with the server's workers."""
        if not torch.cuda.is_available():
            raise ValueError("NCCLBroadcast sends from a GPU, and there is none here; WeightFiles needs none")
        try:
            from vllm.distributed.weight_transfer.base import ModuleSource
            from vllm.distributed.weight_transfer.nccl_engine import (
                NCCLTrainerInitInfo,
                NCCLTrainerWeightTransferEngine,
            )
        except ImportError as error:
            raise ValueError(
                f"NCCLBroadcast needs vLLM in the trainer's environment too ({error}); WeightFiles does not"
            ) from None
        workers = post("/get_world_size", None)["world_size"]
        info = NCCLTrainerInitInfo(master_address=self.address, master_port=self.port, world_size=1 + workers, rank=0)
        return NCCLTrainerWeightTransferEngine.trainer_init(info, client=_Routes(post), source=ModuleSource(model))


class _Routes:
    """The four calls that vLLM's trainer half makes of a server (``VLLMWeightSyncClient``)."""

    def __init__(self, post: Post) -> None:
        self._post = post

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._post("/init_weight_transfer_engine", {"init_info": init_info})

    def start_weight_update(self) -> None:
        self._post("/start_weight_update", {})

    def update_weights(self, update_info: Any) -> None:
        self._post("/update_weights", {"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._post("/finish_weight_update", {} if weight_version is None else {"weight_version": weight_version})
