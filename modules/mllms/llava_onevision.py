"""LLaVA-OneVision (transformers' classes): per-frame tokens, so the union of all rollouts' frames is encoded once.

Facts (transformers 5.23): a frame becomes ceil(sqrt(n)/2)^2 tokens after bilinear pooling, independent of the frames
beside it; one newline token closes the video; ``forward(mm_encoder_outputs={"video": ...})`` takes features in place
of pixels. The family has no timestamps: they reach the model as a sentence of the prompt, if at all.
"""

from __future__ import annotations

from typing import Literal

import torch
import transformers
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from modules.encoders.base import weights_digest
from modules.mllms.base import MLLM, Generation, Row
from modules.paths import ModelPath

_LETTERS = "ABCDEFGH"
_LETTER_INSTRUCTION = "Answer with the option's letter from the given choices directly."


class LlavaOnevision(MLLM):
    """A LLaVA-OneVision model and its processor.

    Args:
        path: folder or hub id.
        answer_with: ``letter`` lists the options in the prompt and scores their letters, as the papers do; ``words``
            leaves the options out and scores their texts.
        question_first: put the text before the video (the family's own order is video first).
        timestamps: say in the prompt how long the video is and when the frames were taken.
        frames_per_forward: frames in one pass of the vision tower.
        dtype: of the weights.
    """

    def __init__(
        self,
        *,
        path: ModelPath,
        answer_with: Literal["letter", "words"] = "letter",
        question_first: bool = False,
        timestamps: bool = False,
        frames_per_forward: int = 256,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        super().__init__()
        path = ModelPath(path)
        self.answer_with = answer_with
        self.question_first = question_first
        self.timestamps = timestamps
        self.frames_per_forward = frames_per_forward
        self.processor = transformers.AutoProcessor.from_pretrained(path)
        self.model = transformers.LlavaOnevisionForConditionalGeneration.from_pretrained(path, dtype=dtype).eval()
        self.video_token_id = self.model.config.video_token_id
        self._prompt_ids: dict[tuple[str, ...], list[int]] = {}

    @property
    def tokenizer(self) -> transformers.PreTrainedTokenizerBase:
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def key(self) -> str:
        # frame tokens come out of tower and projector; the language model may change beneath them
        size = self.processor.video_processor.size
        vision = torch.nn.ModuleList([self.model.model.vision_tower, self.model.model.multi_modal_projector])
        pixels = f"{size['height']}x{size['width']}"
        return f"llava-onevision-{weights_digest(vision)}-{pixels}-tf{transformers.__version__}"

    def pixel_values(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> float (N, 3, S, S) as the family's video processor makes them."""
        video = self.processor.video_processor(
            [frames], do_sample_frames=False, return_tensors="pt", return_metadata=False
        )
        return video["pixel_values_videos"][0].to(self.device, self.model.dtype)

    def vision_tokens(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> (N, P, D), pooled and projected, with graph."""
        features = self.model.model.get_video_features(self.pixel_values(frames)[:, None]).pooler_output
        return features[:, :-1]  # the last token of each one-frame video is the newline

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> float32 (N, P, D)."""
        return torch.cat([self.vision_tokens(part) for part in frames.split(self.frames_per_forward)]).float()

    def prompt(self, row: Row) -> str:
        """The text the model reads, with one placeholder for the video."""
        question = row.question
        lines = [question.question]
        if self.timestamps:
            times = ", ".join(f"{t:.1f}s" for t in row.frames.timestamps_s[row.index].tolist())
            lines.insert(0, f"The video lasts {question.duration_s:.1f} seconds; its frames were taken at {times}.")
        if self.answer_with == "letter":
            lines += [f"{letter}. {option}" for letter, option in zip(_LETTERS, question.options, strict=False)]
            lines.append(_LETTER_INSTRUCTION)
        content = [{"type": "video"}, {"type": "text", "text": "\n".join(lines)}]
        if self.question_first:
            content.reverse()
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )

    def prompt_ids(self, row: Row) -> list[int]:
        """Token ids of the prompt, the placeholder repeated once for each of the video's tokens."""
        times = tuple(f"{t:.1f}" for t in row.frames.timestamps_s[row.index].tolist()) if self.timestamps else ()
        cache_key = (row.question.sample_id, row.question.question, *row.question.options, *times)
        ids = self._prompt_ids.get(cache_key)
        if ids is None:
            ids = self.tokenizer(self.prompt(row), add_special_tokens=False)["input_ids"]
            if len(self._prompt_ids) > 50_000:
                self._prompt_ids.clear()
            self._prompt_ids[cache_key] = ids
        at = ids.index(self.video_token_id)
        num_tokens = len(row.index) * row.frames.tokens.shape[1] + 1
        return ids[:at] + [self.video_token_id] * num_tokens + ids[at + 1 :]

    def option_ids(self, row: Row) -> list[list[int]]:
        """Token ids of each option as an answer."""
        options = row.question.options
        texts = list(_LETTERS[: len(options)]) if self.answer_with == "letter" else list(options)
        return [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]

    def inputs(self, rows: list[Row], answers: list[list[int]] | None = None) -> dict:
        """Left-padded model inputs of R rows, each prompt followed by its answer where one is given."""
        answers = answers or [[] for _ in rows]
        ids = [self.prompt_ids(row) + answer for row, answer in zip(rows, answers, strict=True)]
        length = max(map(len, ids))
        input_ids = torch.full((len(ids), length), self.tokenizer.pad_token_id)
        for r, row_ids in enumerate(ids):
            input_ids[r, length - len(row_ids) :] = torch.tensor(row_ids)
        lengths = torch.tensor([len(row_ids) for row_ids in ids])
        attention_mask = (torch.arange(length)[None] >= length - lengths[:, None]).long()
        newline = self.model.model.image_newline[None]
        parts: list[Tensor] = []
        for row in rows:
            parts += [row.frames.tokens[row.index].flatten(0, 1).to(newline), newline]
        video = BaseModelOutputWithPooling(pooler_output=torch.cat(parts)[None])
        return {
            "input_ids": input_ids.to(self.device),
            "attention_mask": attention_mask.to(self.device),
            "mm_encoder_outputs": {"video": video},
        }

    def score_rows(self, rows: list[Row]) -> Tensor:
        option_ids = [self.option_ids(row) for row in rows]
        if all(len(ids) == 1 for options in option_ids for ids in options):
            logits = self.model(**self.inputs(rows), logits_to_keep=1, use_cache=False).logits[:, -1].float()
            scores = torch.nn.utils.rnn.pad_sequence(
                [logits[r, [ids[0] for ids in options]] for r, options in enumerate(option_ids)],
                batch_first=True,
                padding_value=-torch.inf,
            )
        else:  # options of several tokens: every (row, option) is a sequence, scored by its summed log-probability
            expanded = [row for row, options in zip(rows, option_ids, strict=True) for _ in options]
            answers = [torch.tensor(ids) for options in option_ids for ids in options]
            sums = self.log_probs(expanded, answers).sum(-1)
            scores = torch.nn.utils.rnn.pad_sequence(
                sums.split([len(options) for options in option_ids]), batch_first=True, padding_value=-torch.inf
            )
        return scores.log_softmax(-1)

    def log_probs(self, rows: list[Row], token_ids: list[Tensor]) -> Tensor:
        longest = max(len(ids) for ids in token_ids)
        inputs = self.inputs(rows, [ids.tolist() for ids in token_ids])
        logits = self.model(**inputs, logits_to_keep=longest + 1, use_cache=False).logits[:, :-1].float()
        targets = torch.nn.functional.pad(inputs["input_ids"], (longest, 0))[:, -longest:]
        log_probs = logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
        lengths = torch.tensor([len(ids) for ids in token_ids], device=log_probs.device)
        # sequences are left-padded, so answers end together; give them back starting together
        shift = torch.arange(longest, device=log_probs.device)[None] + (longest - lengths)[:, None]
        aligned = log_probs.gather(1, shift.clamp(max=longest - 1))
        return aligned * (torch.arange(longest, device=log_probs.device)[None] < lengths[:, None])

    @torch.no_grad()
    def generate(self, rows: list[Row], max_new_tokens: int = 16) -> Generation:
        inputs = self.inputs(rows)
        output = self.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=self.tokenizer.pad_token_id,
            return_dict_in_generate=True,
            output_logits=True,
        )
        new_ids = output.sequences[:, inputs["input_ids"].shape[1] :]
        log_probs = torch.stack(output.logits, 1).float().log_softmax(-1).gather(-1, new_ids[..., None])[..., 0]
        ends = new_ids == self.model.generation_config.eos_token_id
        lengths = torch.where(ends.any(1), ends.int().argmax(1) + 1, new_ids.shape[1])
        return Generation(
            texts=[t.strip() for t in self.tokenizer.batch_decode(new_ids, skip_special_tokens=True)],
            token_ids=[ids[:n] for ids, n in zip(new_ids, lengths, strict=True)],
            log_probs=[lp[:n] for lp, n in zip(log_probs, lengths, strict=True)],
        )
