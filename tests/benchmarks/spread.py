"""Do a policy's frames spread over the evidence, or repeat it? Trained samplers on held-out questions, without an MLLM.

python tests/benchmarks/spread.py outputs/refocus_ablations/{refocus,tspo,unet}_s{0,1,2}

For each sampler (runs whose names differ only in the seed are one), kind and number of frames K: the share of evidence
spans that are met, and of the frames in evidence the share that repeat a span; for the most probable frames and for
draws. "at once" takes the K frames that are likeliest in the first draw: what an autoregressive policy would choose if
it forgot what it drew.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from omegaconf import OmegaConf

from datamodules.questions.items import collate
from datamodules.questions.video_questions import VideoQuestionData
from modules.selection.base import FrameSampler
from modules.selection.evidence import coverage
from modules.selection.policies import Autoregressive


def parts(run: Path) -> tuple[FrameSampler, VideoQuestionData]:
    """The trained sampler of a run, and its data, set up for testing."""
    recipe: Any = OmegaConf.to_container(OmegaConf.load(run / "recipe.yaml"), resolve=True)
    parser = ArgumentParser()
    parser.add_argument("--sampler", type=FrameSampler)
    parser.add_argument("--data", type=VideoQuestionData)
    built = parser.instantiate(
        parser.parse_object({"sampler": recipe["model"]["init_args"]["sampler"], "data": recipe["data"]})
    )
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    built.sampler.load_state_dict({n.removeprefix("sampler."): w for n, w in saved.items() if n.startswith("sampler.")})
    built.data.prepare_data()
    built.data.setup("test")
    return built.sampler.eval(), built.data


@torch.no_grad()
def measure(run: Path, frames: list[int], kinds: list[str]) -> dict[tuple[str, int, str], list[tuple[float, float]]]:
    """(found, repeated) of each question, by kind, K and way of choosing."""
    sampler, data = parts(run)
    items, out = data.items("test"), defaultdict(list)
    chosen = [i for i, q in enumerate(items.questions) if q.groups.get("kind") in kinds]
    for start in range(0, len(chosen), 32):
        batch = collate([items[i] for i in chosen[start : start + 32]])
        policy = sampler.policies(batch)
        drawn = policy.sample(max(frames), 4, torch.Generator().manual_seed(0)).candidate_index
        ways = {"most probable": policy.mode(max(frames)).candidate_index, "drawn": drawn}
        if isinstance(policy, Autoregressive):
            decoder: Any = policy.decoder
            first = torch.einsum("bd,btd->bt", decoder.first, policy.keys).masked_fill(~batch.mask, -torch.inf)
            ways["at once"] = first.topk(max(frames), -1).indices[:, None]
        for way, index in ways.items():
            for num_frames in frames:
                for picks in index[..., :num_frames].unbind(1):
                    for question, candidates, chosen in zip(batch.questions, batch.candidates, picks, strict=True):
                        times = candidates.timestamps_s[chosen[chosen >= 0]].tolist()
                        key = str(question.groups["kind"]), num_frames, way
                        out[key].append(coverage(question.evidence_s, times))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--frames", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--kinds", nargs="+", default=["order", "count"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    named: dict[str, list[Path]] = defaultdict(list)
    for run in options.runs:
        named[re.sub(r"_s\d+$", "", run.name)].append(run)
    columns = [f"{kind} K={k}" for kind in options.kinds for k in options.frames]
    print(f"{'found / repeated':<36}" + "".join(f"{column:>16}" for column in columns))
    for name, runs in named.items():
        together = defaultdict(list)
        for run in runs:
            for key, values in measure(run, options.frames, options.kinds).items():
                together[key] += values
        for way in dict.fromkeys(way for _, _, way in together):
            cells = []
            for kind in options.kinds:
                for k in options.frames:
                    found, repeated = torch.tensor(together[kind, k, way]).unbind(1)
                    cells.append(f"{found.mean():.3f} / {repeated.nanmean():.3f}")
            print(f"{f'{name} ({len(runs)} seeds), {way}':<36}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
