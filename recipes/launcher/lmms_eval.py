"""``kairos`` as a model of lmms-eval (entry point ``lmms_eval.models``): our adapters and samplers, its prompts.

    lmms_eval --model kairos --model_args recipe=recipes/eval/mlvu.yaml,system=sampler --tasks mlvu_dev

A recipe under ``recipes/eval`` says which MLLM, samplers, encoder and candidate grid; the harness brings questions,
videos, prompts, scoring and its report. Its own video path is not taken: qwen-vl-utils makes regular timestamps out of
frames that are not regular.

lmms-eval chooses prompts by the exact model name, so under ``kairos`` every task would fall back to its default ones;
``prompt_key`` (e.g. ``qwen3_vl``) gives the wrapped family its own again.

Imported by lmms-eval alone, which lives in an environment of its own (it pins av below 16 and much else).
"""

from __future__ import annotations

from typing import Any

import torch
from jsonargparse import ArgumentParser
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest
from lmms_eval.protocol import ChatMessages
from tqdm import tqdm

from datamodules.annotations.choices import split_question
from datamodules.questions.given import GivenQuestions
from datamodules.questions.items import collate
from datamodules.questions.selected_frames import SelectedFrames
from datamodules.video.decoding_settings import DecodingSettings
from modules.encoders.base import ImageTextEncoder
from modules.mllms.base import MLLM
from modules.mllms.prompt import Prompt
from modules.records import VideoQuestion
from modules.systems.answering import Answering
from modules.systems.base import Setting, VideoSystem, prepared
from recipes.launcher.check import problems
from recipes.launcher.merge import merge, resolve
from recipes.launcher.mistakes import RecipeError

_ID_COLUMNS = ("id", "question_id", "uid", "index", "qid")


def manifests() -> ModelManifest:
    """What lmms-eval registers."""
    return ModelManifest(model_id="kairos", chat_class_path="recipes.launcher.lmms_eval.Kairos")


class Kairos(lmms):
    """Args (``--model_args``):
    recipe: a recipe under ``recipes/eval``, or one like it.
    overlay: more YAML; several separated by ``;``.
    system: which of the recipe's systems.
    selections: a file of selections in the sampler's place; no encoder is needed then.
    num_frames: K; the recipe's by default.
    prompt_key: whose ``lmms_eval_specific_kwargs`` a task's prompt takes.
    device: torch device.
    """

    is_simple = False

    def __init__(
        self,
        recipe: str,
        overlay: str = "",
        system: str = "sampler",
        selections: str | None = None,
        num_frames: int | None = None,
        prompt_key: str | None = None,
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        if unknown:
            raise ValueError(f"--model_args: kairos does not know {', '.join(unknown)}")
        files = [recipe, *(f for f in overlay.split(";") if f)]
        content = resolve(merge(files, []), recipe)
        mistakes = problems(content)
        if mistakes:
            raise RecipeError(" + ".join(files), mistakes)
        model, self.data_arguments = content["model"]["init_args"], dict(content["data"]["init_args"])
        chosen = model["systems"].get(system)
        if selections is not None:
            sampler: Any = {
                "class_path": "modules.methods.training_free.precomputed.Precomputed",
                "init_args": {"path": selections, "sampler": None},
            }
            chosen = {
                "class_path": "modules.systems.sampler_system.SamplerSystem",
                "init_args": {"sampler": sampler},
            }
            self.data_arguments |= {"encoder": None, "selections": {"path": selections}}
        elif chosen is None:
            raise ValueError(f"system={system}: the recipe's systems are {', '.join(model['systems'])}")
        systems = _with_model(system, {**model["systems"], system: chosen})
        self.mllm, built, self.encoder = _build(model["mllm"], systems, self.data_arguments.pop("encoder", None))
        self.system = built[system]
        self.num_frames, self.prompt_key = int(num_frames or model.get("num_frames", 64)), prompt_key
        self.torch_device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        for part in (self.mllm, *built.values(), self.encoder):
            if part is not None:
                part.to(self.torch_device)
        self.answering = Answering(self.mllm)
        setting = Setting(answering=self.answering, num_frames=self.num_frames, score_options=False, write_text=True)
        prepared(built, setting)
        asked: Prompt = getattr(self.mllm, "prompt", Prompt())
        self.mllm.prompt = Prompt(system=asked.system, timestamps=asked.timestamps)  # type: ignore[assignment]

    @torch.no_grad()
    def generate_until(self, requests: list[Any]) -> list[str]:
        """Answers, in the order of the requests."""
        asked = [self._request(request.args) for request in requests]
        data = self._data([question for question, _, _ in asked])
        data.setup("predict")
        items = data.items("predict")
        answers: list[str] = []
        for i in tqdm(range(len(items)), desc="kairos"):
            batch = collate([items[i]]).to(self.torch_device)
            self.answering.max_new_tokens = int(asked[i][2].get("max_new_tokens", 16))
            answers.append(self.system.answer(batch, data)[0].answer.text or "")
        data.teardown("predict")
        return answers

    def _request(self, arguments: tuple[Any, ...]) -> tuple[VideoQuestion, str, dict[str, Any]]:
        """The question for the sampler, the harness's text for the MLLM, and the settings of generation."""
        _, doc_to_messages, settings, doc_id, task, split = arguments
        doc = self.task_dict[task][split][doc_id]
        messages = ChatMessages(messages=self._messages(doc_to_messages, doc))
        _, videos, _ = messages.extract_media()
        if len(videos) != 1:
            raise ValueError(
                f"task {task}, document {doc_id}: kairos reads one video a question, here are {len(videos)}"
            )
        text = "\n".join(c.text for m in messages.messages for c in m.content if c.type == "text")
        bare = split_question(str(doc.get("question", text)))[0]
        name = next((str(doc[c]) for c in _ID_COLUMNS if c in doc), str(doc_id))
        question = VideoQuestion(task, split, name, str(videos[0]), 0.0, bare, wording=text)
        return question, text, settings

    def _messages(self, doc_to_messages: Any, doc: dict[str, Any]) -> Any:
        """A document as messages, in the words that the task has for ``prompt_key``."""
        task = getattr(doc_to_messages, "__self__", None)
        if self.prompt_key is None or task is None:
            return doc_to_messages(doc)
        known = task.config.lmms_eval_specific_kwargs or {}
        if self.prompt_key not in known:
            raise ValueError(f"prompt_key={self.prompt_key}: this task has prompts for {', '.join(known) or 'nobody'}")
        kept = task.lmms_eval_specific_kwargs
        task.lmms_eval_specific_kwargs = known[self.prompt_key]
        try:
            return doc_to_messages(doc)
        finally:
            task.lmms_eval_specific_kwargs = kept

    def _data(self, questions: list[VideoQuestion]) -> GivenQuestions:
        keys = (
            "feature_dir",
            "candidate_fps",
            "max_candidates",
            "short_side_px",
            "feature_short_side_px",
        )
        settings = {key: self.data_arguments[key] for key in keys if key in self.data_arguments}
        selections = self.data_arguments.get("selections")
        return GivenQuestions(
            questions=questions,
            encoder=self.encoder,
            decoding=DecodingSettings(**{**(self.data_arguments.get("decoding") or {}), "on_bad_video": "raise"}),
            selections=None if selections is None else SelectedFrames(**selections),
            **settings,
        )

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        raise NotImplementedError("kairos answers tasks of output_type generate_until")

    def generate_until_multi_round(self, requests: list[Any]) -> list[str]:
        raise NotImplementedError("kairos answers tasks of output_type generate_until")


def _with_model(name: str, systems: dict[str, Any]) -> dict[str, Any]:
    """A system, and before it the one that it is like, if it is like one."""
    like = (systems[name].get("init_args") or {}).get("like")
    return {key: systems[key] for key in (like, name) if key in systems}


def _build(
    mllm: Any, systems: dict[str, Any], encoder: Any
) -> tuple[MLLM, dict[str, VideoSystem], ImageTextEncoder | None]:
    parser = ArgumentParser(parser_mode="omegaconf+")
    parser.add_argument("--mllm", type=MLLM)
    parser.add_argument("--systems", type=dict[str, VideoSystem])
    parser.add_argument("--encoder", type=ImageTextEncoder | None)
    built = parser.instantiate(parser.parse_object({"mllm": mllm, "systems": systems, "encoder": encoder}))
    return built.mllm, built.systems, built.encoder
