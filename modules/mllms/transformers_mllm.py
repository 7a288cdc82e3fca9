"""What the transformers families share: prompts, batches of ragged rows, scoring, generation.

Facts (transformers 5.23) that this file rests on:

- Every family takes ``mm_encoder_outputs={"video" | "image": features}`` in place of pixels, in ``forward`` and in
  ``generate``. A row's prompt and features are made on their own, so rows of any numbers of frames share a batch, which
  most processors refuse.
- ``processor.replace_video_token`` writes the text that stands for a video (with the times, where the family has them)
  from nothing but the number of frames, the grid and the metadata; so our prompts are the family's own of that version.
- Times are given as metadata at 1000 "frames" a second, one tick a millisecond, which any timestamps fit.
- A Qwen model would take up ``rope_deltas`` of an earlier call; here every call brings its positions.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.video_utils import VideoMetadata

from modules.encoders.base import weights_digest
from modules.files.hub import fetching
from modules.files.model_files import AS_DATA, as_data
from modules.files.paths import ModelPath
from modules.mllms.base import MLLM, Generation, Row
from modules.mllms.chat_template import render
from modules.mllms.drawing import TokenDraw, plain_decoding, uniforms_of
from modules.mllms.last_positions import last_layer_of
from modules.mllms.loading import Loading
from modules.mllms.prompt import Prompt
from modules.mllms.token_log_probs import answer_positions, token_log_probs

TICKS_PER_S = 1000


@dataclass(frozen=True)
class Clip:
    """A row's video, ready for the prompt and for the model."""

    text: str
    """Stands for the video in the prompt, with a placeholder for each token."""
    features: Tensor
    """(tokens, D), one a placeholder, in order."""
    extra: dict[str, Tensor] = field(default_factory=dict)
    """More arguments of the model's forward, on the host; first dimension: videos."""


class TransformersMLLM(MLLM):
    """A transformers vision-language model and its processor.

    Args:
        path: folder or hub id.
        prompt: how a question is put.
        loading: precision, placement, attention, LoRA.
        frames_per_forward: frames in one pass of the vision tower.
    """

    model_class: ClassVar[type[Any]]
    modality: ClassVar[str] = "video"
    """Which key of ``mm_encoder_outputs`` the frames go under."""
    writes_times: ClassVar[bool] = False
    """Whether the family's own prompt says when each frame was taken."""

    def __init__(
        self,
        *,
        path: ModelPath,
        prompt: Prompt | None = None,
        loading: Loading | None = None,
        frames_per_forward: int = 256,
    ) -> None:
        super().__init__()
        self.prompt, self.loading = prompt or Prompt(), loading or Loading()
        self.frames_per_forward = frames_per_forward
        name = as_data(ModelPath(path))
        with fetching(name) as place:
            self._refuse_another_family(name)
            self.processor = transformers.AutoProcessor.from_pretrained(name, revision=self.loading.revision, **AS_DATA)
            self.model = self.loading.model(self.model_class, place)

    def _refuse_another_family(self, name: str) -> None:
        """Transformers would load it all the same, with new weights in every place that has another name.

        Raises:
            ValueError: the folder holds a model of another family than the one class that is read here.
        """
        family = getattr(self.model_class, "config_class", None)
        if family is None:  # an Auto class, which reads many
            return
        config, _ = transformers.PretrainedConfig.get_config_dict(name, revision=self.loading.revision, **AS_DATA)
        found, wanted = config.get("model_type"), family.model_type
        if found is not None and found != wanted:
            raise ValueError(
                f"{name} holds a model of type {found!r}, and {type(self).__name__} reads {wanted!r}; name the class "
                "of its family as the mllm's class_path (docs/models.md lists them)"
            )

    # ---- what a family says about itself ----

    @property
    @abstractmethod
    def vision(self) -> list[torch.nn.Module]:
        """The parts that frame tokens come out of."""

    @property
    @abstractmethod
    def frame_size(self) -> str:
        """How large the tower sees a frame, for keys and cards."""

    @property
    @abstractmethod
    def video_token_id(self) -> int:
        """The placeholder of one token of a frame."""

    @abstractmethod
    def vision_tokens(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> (N, ..., D), with graph."""

    @abstractmethod
    def clip(self, row: Row) -> Clip:
        """Text and features of a row with frames."""

    def features(self, clips: list[Clip]) -> Any:
        """What ``mm_encoder_outputs`` takes; one tensor a video."""
        features = [c.features.to(self.device, self.dtype) for c in clips]
        return BaseModelOutputWithPooling(pooler_output=features)  # type: ignore[arg-type]

    # ---- shared ----

    @property
    def tokenizer(self) -> transformers.PreTrainedTokenizerBase:
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def entrances(self) -> list[torch.nn.Module]:
        # generation calls the whole; scores and log-probabilities the language model, then the head
        return [self.model, self.model.model, self.model.get_output_embeddings(), *self.vision]

    @property
    def key(self) -> str:
        # frame tokens come out of tower and projector; the language model may change beneath them
        name = type(self).__name__.lower()
        digest = weights_digest(torch.nn.ModuleList(self.vision))
        return f"{name}-{digest}-{self.frame_size}-tf{transformers.__version__}"

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "frame_size": self.frame_size,
            "dtype": str(self.dtype).removeprefix("torch."),
            "prompt": self.prompt.digest(),
            "transformers": transformers.__version__,
        }

    def _apply(self, fn: Any, recurse: bool = True) -> TransformersMLLM:
        """A model that transformers has placed stays where it is."""
        return self if self.loading.device_map is not None else super()._apply(fn, recurse)

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> float32 (N, ..., D); the frames themselves where rows are encoded anew."""
        if not self.injects:
            return frames
        return torch.cat([self.vision_tokens(part) for part in frames.split(self.frames_per_forward)]).float()

    @torch.no_grad()
    def encode_previews(self, frames: Tensor, num_tokens: int) -> Tensor:
        """Tokens averaged over squares of the frame's grid; families without such a grid make the frames smaller."""
        tokens = self.encode_frames(frames)
        side, wanted = math.isqrt(tokens.shape[1]), math.isqrt(num_tokens)
        if not self.injects or tokens.ndim != 3 or side**2 != tokens.shape[1]:
            raise ValueError(f"{type(self).__name__} as it is set up has no square grid of tokens to make previews of")
        if wanted < 1:
            raise ValueError(f"num_tokens={num_tokens}: at least 1")
        if wanted >= side:
            return tokens
        grid = tokens.transpose(1, 2).unflatten(-1, (side, side))
        return torch.nn.functional.adaptive_avg_pool2d(grid, wanted).flatten(2).transpose(1, 2)

    def processed(self, videos: list[Tensor], **settings: Any) -> Any:
        """Frames uint8 (K, 3, H, W) of each video as the family's video processor makes them; none is left out."""
        return self.processor.video_processor(
            videos, do_sample_frames=False, return_tensors="pt", return_metadata=False, **settings
        )

    def metadata(self, row: Row, repeat: int = 1) -> VideoMetadata:
        """True times of the row's frames, each given ``repeat`` times."""
        times_s = row.timestamps_s.tolist()
        ticks = [round(TICKS_PER_S * t) for t in times_s for _ in range(repeat)]
        length_s = max(row.question.duration_s, times_s[-1] + 1 / TICKS_PER_S)
        return VideoMetadata(
            total_num_frames=round(TICKS_PER_S * length_s), fps=TICKS_PER_S, duration=length_s, frames_indices=ticks
        )

    def messages(self, row: Row) -> list[dict[str, Any]]:
        """The conversation, as chat templates take it."""
        prompt = self.prompt_of(row)
        content = [{"type": "text", "text": prompt.text(row.question, row.timestamps_s)}]
        if len(row.index):
            content.insert(1 if prompt.question_first else 0, {"type": "video"})
        system = [{"type": "text", "text": prompt.system}]
        return [{"role": "system", "content": system}] * (prompt.system is not None) + [
            {"role": "user", "content": content}
        ]

    def prompt_text(self, row: Row, video_text: str | None = None) -> str:
        """The text the model reads; the video's placeholders as ``video_text``, or as one where that is None."""
        text = render(self.processor, self.messages(row))
        if video_text is not None and len(row.index):
            text = text.replace(self.processor.video_token, video_text, 1)
        return text + self.prompt_of(row).answer_prefix

    def prompt_ids(self, row: Row, clip: Clip | None) -> list[int]:
        """Token ids of the prompt."""
        text = self.prompt_text(row, None if clip is None else clip.text)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def placed(self, video_text: str, num_tokens: int) -> str:
        """A video's text with so many placeholders a frame: processors write as many as a whole frame has."""
        placeholder = str(self.tokenizer.convert_ids_to_tokens(self.video_token_id))
        return re.sub(f"(?:{re.escape(placeholder)})+", placeholder * num_tokens, video_text)

    def option_ids(self, row: Row) -> list[list[int]]:
        """Token ids of each option as an answer."""
        return [
            self.tokenizer(a, add_special_tokens=False)["input_ids"] for a in self.prompt_of(row).answers(row.question)
        ]

    def inputs(self, rows: list[Row], answers: list[list[int]] | None = None) -> dict[str, Any]:
        """Left-padded model inputs of R rows, each prompt followed by its answer where one is given."""
        distinct = {id(row): row for row in rows}  # several answers to one row share what its frames become
        made = {key: self.clip(row) if len(row.index) else None for key, row in distinct.items()}
        clips = [made[id(row)] for row in rows]
        answers = answers or [[] for _ in rows]
        ids = [self.prompt_ids(r, c) + a for r, c, a in zip(rows, clips, answers, strict=True)]
        if self.usage is not None:
            for row, row_ids in zip(rows, ids, strict=True):
                visual = row_ids.count(self.video_token_id)
                self.usage.add(row.question.sample_id, visual_tokens=visual, text_tokens_in=len(row_ids) - visual)
        length = max(map(len, ids))
        input_ids = torch.full((len(ids), length), self.tokenizer.pad_token_id)
        for r, row_ids in enumerate(ids):
            input_ids[r, length - len(row_ids) :] = torch.tensor(row_ids)
        lengths = torch.tensor([len(row_ids) for row_ids in ids])
        attention_mask = (torch.arange(length)[None] >= length - lengths[:, None]).long()
        inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        shown = [c for c in clips if c is not None]
        for name in shown[0].extra if shown else ():
            inputs[name] = torch.cat([c.extra[name] for c in shown])
        self.prepare(inputs)
        inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        if shown:
            inputs["mm_encoder_outputs"] = {self.modality: self.features(shown)}
        return inputs

    def prepare(self, inputs: dict[str, Any]) -> None:
        """Adds what a family's forward needs beyond ids, mask and features; all still on the host."""

    def hidden_states(self, inputs: dict[str, Any]) -> Tensor:
        """Last hidden states (R, L, D) of what `inputs` made."""
        return self.model.model(**inputs, use_cache=False).last_hidden_state

    def score_rows(self, rows: list[Row]) -> Tensor:
        option_ids = [self.option_ids(row) for row in rows]
        if all(len(ids) == 1 for options in option_ids for ids in options):
            scores = self._next_token_logits(rows, [[ids[0] for ids in options] for options in option_ids])
        else:  # options of several tokens: every (row, option) is a sequence, scored by its summed log-probability
            expanded = [row for row, options in zip(rows, option_ids, strict=True) for _ in options]
            answers = [torch.tensor(ids) for options in option_ids for ids in options]
            sums = self._log_probs(expanded, answers).sum(-1)
            scores = torch.nn.utils.rnn.pad_sequence(
                sums.split([len(options) for options in option_ids]), batch_first=True, padding_value=-torch.inf
            )
        return scores.log_softmax(-1)

    def _next_token_logits(self, rows: list[Row], token_ids: list[list[int]]) -> Tensor:
        """Logits (R, O) of some tokens as the next one, -inf where a row has fewer.

        They are float32 products of the last hidden state with those tokens' rows of the head. In bfloat16 logits lie
        0.06 or 0.12 apart, and the best two options tie in about 3 % of questions; and the rest of the vocabulary is
        not needed.
        """
        inputs = self.inputs(rows)
        with last_layer_of(self.model, 1):
            hidden = self.hidden_states(inputs)[:, -1]
        most = max(map(len, token_ids))
        padded = torch.tensor([ids + [-1] * (most - len(ids)) for ids in token_ids]).to(hidden.device)
        head = self.model.get_output_embeddings()
        logits = torch.einsum("rd,rod->ro", hidden.float(), head.weight[padded.clamp(min=0)].float())
        if head.bias is not None:
            logits = logits + head.bias[padded.clamp(min=0)].float()
        return logits.masked_fill(padded < 0, -torch.inf)

    def language_parameters(self) -> list[torch.nn.Parameter]:
        adapters = [p for name, p in self.model.named_parameters() if "lora_" in name]
        seen = {id(p) for part in self.vision for p in part.parameters()}
        return adapters or [p for p in self.model.parameters() if id(p) not in seen]

    def checkpoint_gradients(self) -> None:
        self.model.gradient_checkpointing_enable({"use_reentrant": False})
        # computing it again would save nothing, since its activations are the first to be wanted; and what
        # `last_layer_of` leaves out would have to be left out then as well
        self.model.get_decoder().layers[-1].gradient_checkpointing = False

    def log_probs(self, rows: list[Row], token_ids: list[Tensor], temperature: float = 1.0) -> Tensor:
        return self._log_probs(rows, token_ids, lambda logits: self._spoken(logits, temperature))

    def _log_probs(
        self, rows: list[Row], token_ids: list[Tensor], shaped: Callable[[Tensor], Tensor] = lambda logits: logits
    ) -> Tensor:
        """Log-probabilities (R, L) of given answers under the logits as ``shaped``; 0 behind an answer's end."""
        lengths = [len(ids) for ids in token_ids]
        inputs = self.inputs(rows, [ids.tolist() for ids in token_ids])
        with last_layer_of(self.model, max(lengths) + 1):
            hidden = self.hidden_states(inputs)
        where, position = (index.to(self.device) for index in answer_positions(lengths, hidden.shape[1]))
        targets = torch.cat(token_ids).to(self.device)
        head, vocab_size = self.model.get_output_embeddings(), self.model.config.get_text_config().vocab_size
        log_probs = token_log_probs(head, hidden[where, position], targets, shaped, vocab_size)
        return torch.nn.utils.rnn.pad_sequence(list(log_probs.split(lengths)), batch_first=True)

    @cached_property
    def unsaid_ids(self) -> list[int]:
        """Tokens that stand for pictures: said in an answer, they would ask for features that are not there."""
        config = self.model.config
        named = {getattr(config, name, None) for name in ("image_token_id", "video_token_id")}
        return sorted({self.video_token_id, *(i for i in named if i is not None)})

    def _spoken(self, logits: Tensor, temperature: float) -> Tensor:
        """Logits of what is drawn from: without placeholders, at a temperature."""
        shaped = logits / temperature
        for token_id in self.unsaid_ids:  # one by one: a list of them would be copied to the device
            shaped[..., token_id] = -torch.inf
        return shaped

    @torch.no_grad()
    def generate(
        self, rows: list[Row], max_new_tokens: int = 16, temperature: float = 0.0, seeds: list[int] | None = None
    ) -> Generation:
        inputs = self.inputs(rows)
        uniforms = None
        if temperature > 0:
            uniforms = uniforms_of(seeds or list(range(len(rows))), max_new_tokens, self.device)
        draw = TokenDraw(lambda logits: self._spoken(logits, temperature or 1.0), uniforms)
        with plain_decoding(self.model, max_new_tokens, self.tokenizer.pad_token_id), last_layer_of(self.model, 1):
            config = self.model.generation_config
            sequences = self.model.generate(  # type: ignore[operator]
                **inputs, generation_config=config, logits_processor=transformers.LogitsProcessorList([draw])
            )
        # one copy to the host, for the texts; training reads the ids there as well
        new_ids = sequences[:, inputs["input_ids"].shape[1] :].cpu()
        ends = torch.isin(new_ids, torch.tensor(self.model.generation_config.eos_token_id or []).long())
        lengths = torch.where(ends.any(1), ends.int().argmax(1) + 1, new_ids.shape[1]).tolist()
        log_probs = torch.stack(draw.log_probs, 1)
        if self.usage is not None:
            for row, length in zip(rows, lengths, strict=True):
                self.usage.add(row.question.sample_id, text_tokens_out=length)
        return Generation(
            texts=[t.strip() for t in self.tokenizer.batch_decode(new_ids, skip_special_tokens=True)],
            token_ids=[ids[:n] for ids, n in zip(new_ids, lengths, strict=True)],
            log_probs=[lp[:n] for lp, n in zip(log_probs, lengths, strict=True)],
        )
