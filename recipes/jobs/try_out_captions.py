"""What recipes about captions need, in small: clips, captions in each benchmark's own layout, and a blank SwinBERT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file

from datamodules.haystack.clip_captions import captions_of, every_caption
from datamodules.haystack.clip_world import ClipWorld
from datamodules.haystack.video_writing import write_video
from modules.methods.swinbert.caption_encoder import EncoderSize
from modules.methods.swinbert.swinbert_folder import save_network
from modules.methods.swinbert.swinbert_network import SwinBERT
from modules.methods.swinbert.video_masks import LogMask
from modules.methods.swinbert.video_swin import VideoSwin
from modules.methods.swinbert.word_vocabulary import word_tokenizer
from recipes.jobs.question_files import write_lines

_SPLITS = ("train",) * 4 + ("val",) * 2 + ("test",) * 2
_SECONDS = 8
_MSRVTT = {"train": "train", "val": "validate", "test": "test"}
_YOUCOOK = {"train": "training", "val": "validation", "test": "testing"}


def write_clips(folder: Path, seed: int) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Eight clips below ``folder/clips``; the split and the captions of each, by its name."""
    world, clips = ClipWorld(seed=seed, duration_s=_SECONDS), folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    found = {}
    for n, split in enumerate(_SPLITS):
        name = f"clip{n}_0_{_SECONDS}"  # MSVD's names say from when to when
        if not (path := clips / f"{name}.mp4").is_file():
            write_video(path, world, "test", n)
        found[name] = split, captions_of(world.plan("test", n))
    return found


def write_captions(folder: Path, clips: dict[str, tuple[str, tuple[str, ...]]]) -> None:
    """The captions as MSR-VTT, MSVD, VATEX, TVC and YouCook2 publish theirs."""
    for benchmark in ("msrvtt", "msvd", "vatex", "tvc", "youcook2"):
        (folder / benchmark).mkdir(parents=True, exist_ok=True)
    of = {s: {name: texts for name, (split, texts) in clips.items() if split == s} for s in ("train", "val", "test")}
    for name, splits in (("train_val_videodatainfo", ("train", "val")), ("test_videodatainfo", ("test",))):
        videos = [{"video_id": v, "split": _MSRVTT[s], "category": 3} for s in splits for v in of[s]]
        spoken = [(v, text) for s in splits for v, texts in of[s].items() for text in texts]
        sentences = [{"sen_id": n, "video_id": v, "caption": text} for n, (v, text) in enumerate(spoken)]
        (folder / f"msrvtt/{name}.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    rows = [
        {"VideoID": v.split("_")[0], "Start": 0, "End": _SECONDS, "Language": "English", "Description": text}
        for v, texts in of["test"].items()
        for text in texts
    ]
    pd.DataFrame(rows).to_csv(folder / "msvd/video_corpus.csv", index=False)
    vatex = [{"videoID": f"{v}_000000_00000{_SECONDS}", "enCap": list(texts)} for v, texts in of["test"].items()]
    (folder / "vatex/vatex_public_test_english_v1.1.json").write_text(json.dumps(vatex))
    stretches: list[dict[str, Any]] = [
        {
            "vid_name": v,
            "duration": float(_SECONDS),
            "ts": [0.0, 6.5],
            "clip_id": n,
            "descs": [{"type": "v", "desc": text} for text in texts],
        }
        for n, (v, texts) in enumerate(of["val"].items())
    ]
    write_lines(folder / "tvc/tvc_val_release.jsonl", stretches)
    database = {
        v: {
            "subset": _YOUCOOK[split],
            "recipe_type": "226",
            "duration": float(_SECONDS),
            "annotations": [{"id": 0, "segment": [1, 7], "sentence": texts[0]}],
        }
        for v, (split, texts) in clips.items()
    }
    (folder / "youcook2/youcookii_annotations_trainval.json").write_text(json.dumps({"database": database}))


def write_blank_swinbert(folder: Path, seed: int) -> None:
    """A tokenizer, a backbone's weights in torchvision's layout, and a captioner of them that has learnt nothing."""
    torch.manual_seed(seed)
    tokenizer = word_tokenizer(every_caption())
    tokenizer.save_pretrained(folder / "tokenizer")
    backbone = VideoSwin(
        embed_dim=16, depths=[1, 1], num_heads=[2, 4], window=[2, 4, 4], patch=[2, 4, 4], drop_path=0.1
    )
    state = {name: tensor.detach().clone() for name, tensor in backbone.named_parameters()}
    save_file(state, folder / "vidswin.safetensors", {"format": "pt"})
    size = EncoderSize(width=32, num_layers=2, num_heads=2, inner_width=64, video_width=24, max_positions=64)
    network = SwinBERT(backbone=backbone, encoder=size, mask=LogMask(), tokenizer=tokenizer, num_frames=4, size_px=32)
    save_network(network, folder / "captioner", updates=0, recipe="")
