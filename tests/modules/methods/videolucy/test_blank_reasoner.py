"""The small reasoner before it has learnt anything: what its first weights are meant to do, they do."""

from __future__ import annotations

import numpy as np
import torch
import yaml

from datamodules.haystack.memory_look_ups import look_up_batch
from modules.files.paths import InputPath
from modules.methods.videolucy.notation import Notation
from modules.methods.videolucy.reasoner_training import ReasonerTraining
from recipes.launcher.guard import ROOT


def test_before_any_training_words_attend_to_the_name_behind_their_like() -> None:
    """Among the names of six notes the right one has the highest score of the first attention; by chance, in 17 %."""
    recipe = yaml.safe_load((ROOT / "recipes/haystack/memory_reasoner.yaml").read_text())["model"]["init_args"]
    torch.manual_seed(0)
    training = ReasonerTraining(
        output_dir="",
        sentences=recipe["sentences"],
        prompts=InputPath(recipe["prompts"]),
        notation=Notation(**recipe["notation"]),
    )
    attention = training.model.model.layers[1].self_attn
    seen: dict[str, torch.Tensor] = {}
    attention.register_forward_pre_hook(
        lambda _, args, named: seen.update(states=named["hidden_states"]), with_kwargs=True
    )
    right = []
    for look_ups in look_up_batch(np.random.default_rng(0), 0)[:12]:
        parts = [(training.tokenizer(text)["input_ids"], is_name) for text, is_name in training._look_ups(look_ups)]
        ids = [token for tokens, _ in parts for token in tokens]
        with torch.no_grad():
            training.model.model(input_ids=torch.tensor([ids]))
            states = seen["states"]
            split = (*states.shape[:2], 2, -1)
            queries = attention.q_layernorm(attention.q_proj(states).view(split))[0]
            keys = attention.k_layernorm(attention.k_proj(states).view(split))[0]
        memory = len(parts[0][0])
        names = {
            ids[place]: place for place in range(memory) if ids[place] in {t for (t, *_), is_name in parts if is_name}
        }
        place = 0
        for tokens, is_name in parts:
            if is_name:
                scores = (queries[place - 1] * keys[list(names.values())]).sum((-1, -2))
                right.append(list(names)[int(scores.argmax())] == tokens[0])
            place += len(tokens)
    assert np.mean(right) > 0.9
