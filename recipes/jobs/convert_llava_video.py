"""Converts LLaVA-Video-7B-Qwen2 from the original code base's layout to transformers', once."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from modules.console import PlainConsole
from modules.files.hub import fetching
from modules.files.model_files import AS_DATA, as_data
from modules.files.paths import InputPath
from modules.files.whole_files import give_usual_mode
from modules.mllms.llava_video import convert
from modules.mllms.shapes import config_of
from recipes.jobs.base import Job


class ConvertLlavaVideo(Job):
    """Writes LLaVA-Video-7B under the names that transformers gives its weights.

    Args:
        source: folder of lmms-lab/LLaVA-Video-7B-Qwen2.
        processor: folder or hub id of a transformers LLaVA-OneVision with Qwen2's tokenizer, whose processor is taken.
        out: folder to write.
        config: where the shape comes from: a folder, or a known published id.
    """

    def __init__(
        self, *, source: InputPath, processor: str, out: str, config: str = "lmms-lab/LLaVA-Video-7B-Qwen2"
    ) -> None:
        self.source, self.processor, self.out, self.config = Path(source), processor, Path(out), config

    def run(self, run_dir: Path) -> None:
        if not self.source.is_dir():
            raise ValueError(f"job.source: {self.source} is not a folder")
        with fetching(self.processor):
            processor = transformers.AutoProcessor.from_pretrained(as_data(self.processor), **AS_DATA)
        config = config_of(self.config)
        tokens = processor.tokenizer
        config.video_token_id, config.image_token_id = (
            tokens.convert_tokens_to_ids(t) for t in (processor.video_token, processor.image_token)
        )
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        model = transformers.LlavaOnevisionForConditionalGeneration(config)  # type: ignore[arg-type]
        torch.set_default_dtype(default)
        convert(self.source, model)
        model.save_pretrained(self.out)
        processor.save_pretrained(self.out)
        give_usual_mode(self.out)
        PlainConsole().print(f"written     {self.out}")
