"""A plain language model reads memories: at their place in the prompt, with one likelihood whoever computes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from modules.methods.videostreaming.condenser import ClipCondenser, Stream
from modules.methods.videostreaming.frame_tokens import MergedPatches
from modules.methods.videostreaming.language_layers import LanguageLayers
from modules.methods.videostreaming.language_reader import LanguageModelReader
from modules.mllms.base import FrameTokens, Row
from modules.mllms.loading import Loading, Lora
from modules.mllms.prompt import Prompt
from modules.records import VideoQuestion
from modules.small_stack.blank_families import write_blank_videostreaming

WIDTH, TOKENS = 32, 8


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videostreaming")
    write_blank_videostreaming(folder, width=WIDTH)
    return folder


def reader(models: Path, **settings: object) -> LanguageModelReader:
    torch.manual_seed(1)
    return LanguageModelReader(path=str(models / "llama"), memory_dim=WIDTH, memory_tokens=TOKENS, **settings)


def row(clips: Tensor, text: str = "What is shown?") -> Row:
    question = VideoQuestion("d", "s", "q", "v", 8.0, text, ("red", "star"))
    return Row(question, FrameTokens(clips, torch.arange(float(len(clips)))), torch.arange(len(clips)))


def clips(num_clips: int, seed: int = 0) -> Tensor:
    return torch.randn(num_clips, 1 + TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed))


def test_memories_stand_before_the_question_in_vicunas_own_conversation(models: Path) -> None:
    model = reader(models, prompt=Prompt(system="Be kind.", instruction=""))
    inputs = model.inputs([row(clips(2))])
    ids = inputs["input_ids"][0].tolist()
    places = [n for n, token in enumerate(ids) if token == model.video_token_id]
    assert places == list(range(places[0], places[0] + 2 * TOKENS))
    text = model.tokenizer.decode(ids[: places[0]]) + "*" + model.tokenizer.decode(ids[places[-1] + 1 :])
    assert text == "Be kind. USER: *\nWhat is shown?\nA. red\nB. star ASSISTANT:"
    tokens = model.output(clips(2)[:, 1:]).flatten(0, 1)
    torch.testing.assert_close(inputs["inputs_embeds"][0, places], tokens)  # the indicators are left out
    blind = Row(row(clips(1)).question, FrameTokens(torch.empty(0), torch.empty(0)), torch.empty(0, dtype=torch.long))
    assert model.video_token_id not in model.inputs([blind])["input_ids"][0]


def test_words_that_name_the_placeholder_take_no_memorys_place(models: Path) -> None:
    model = reader(models)
    rude = model.inputs([row(clips(1), "What \ufffc is <|endoftext|> shown?")])
    torch.testing.assert_close(
        rude["inputs_embeds"], model.inputs([row(clips(1), "What  is  shown?")])["inputs_embeds"]
    )


def test_one_likelihood_whoever_computes_it(models: Path) -> None:
    """What is drawn, its log-probabilities afterwards, and the same by hand, in a batch of different lengths."""
    model = reader(models)
    rows = [row(clips(1)), row(clips(3, seed=1), "What is shown in the end?")]
    drawn = model.generate(rows, max_new_tokens=5, temperature=1.0, seeds=[3, 4])
    again = model.log_probs(rows, drawn.token_ids)
    for n in range(2):
        length = len(drawn.token_ids[n])
        torch.testing.assert_close(again[n, :length], drawn.log_probs[n], rtol=1e-4, atol=1e-4)
        inputs = model.inputs(rows[n : n + 1], [drawn.token_ids[n].tolist()])
        logits = model.model(inputs_embeds=inputs["inputs_embeds"]).logits[0, -length - 1 : -1]
        logits[:, model.video_token_id] = -torch.inf
        by_hand = logits.log_softmax(-1).gather(-1, drawn.token_ids[n][:, None])[:, 0]
        torch.testing.assert_close(again[n, :length], by_hand, rtol=1e-4, atol=1e-4)
    scores = model.score_rows(rows)
    torch.testing.assert_close(scores[1:], model.score_rows(rows[1:]), rtol=1e-4, atol=1e-4)
    assert (scores - model.score_rows([row(-clips(1)), rows[1]]))[0].abs().max() > 1e-4  # what is remembered matters


def test_lora_layers_and_output_mlp_are_what_joint_training_trains(models: Path) -> None:
    model = reader(models, loading=Loading(lora=Lora(r=2)))
    names = {id(p): name for name, p in model.named_parameters()}
    trained = [names[id(p)] for p in model.language_parameters()]
    assert len(trained) == 4 * 4 * 2 + 4  # layers, projections, factors; and the output MLP
    assert all("lora_" in name or name.startswith("output.") for name in trained)
    model.log_probs([row(clips(2))], [torch.tensor([5, 6])]).sum().backward()
    assert model.output[0].weight.grad.abs().sum() > 0


def test_bfloat16_layers_condense_and_answer(models: Path) -> None:
    """Input and output MLP stay float32, and the layers between compute in the precision they were loaded in."""
    torch.manual_seed(0)
    patches, found = MergedPatches(path=str(models / "clip")), {}
    frames = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    tokens = patches.encode_frames(frames)[None]
    assert tokens.shape == (1, 2, 16, 4 * WIDTH)
    for dtype in ("float32", "bfloat16"):
        torch.manual_seed(5)
        layers = LanguageLayers(path=str(models / "phi"), num_layers=2, dtype=dtype)
        condenser = ClipCondenser(layers=layers, token_dim=4 * WIDTH, clip_frames=2)
        with torch.no_grad():
            memory, stream = condenser.step(tokens, [0.0], [2.0], Stream())
            memory, stream = condenser.step(tokens, [2.0], [4.0], stream)
            asked = condenser.question_indicator(["What?"], stream)
        assert memory.tokens.shape == (1, TOKENS, WIDTH)
        features = torch.cat([memory.indicator[:, None], memory.tokens], 1).float()
        model = reader(models, loading=Loading(dtype=dtype))
        found[dtype] = features, asked.float(), model.score_rows([row(features)])
    for half, whole in zip(found["bfloat16"], found["float32"], strict=True):
        assert (half - whole).norm() / whole.norm() < 0.05
        assert not torch.equal(half, whole)


def test_what_cannot_read_memories_is_refused(models: Path, blank_vlm: Path) -> None:
    with pytest.raises(ValueError, match=r"memories of \(9, 32\) .* cannot be read by a model of \(8, 32\)"):
        reader(models).score_rows([row(torch.zeros(1, 2 + TOKENS, WIDTH))])
    with pytest.raises(ValueError, match="reads memories of clips, and no frames"):
        reader(models).encode_frames(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_dropout_of_the_layers_is_off(models: Path) -> None:
    """Phi's is on while it trains; a rollout and its log-probability would be of two models."""
    layers = LanguageLayers(path=str(models / "phi"), num_layers=2).train()
    embeddings, real = layers.embed(["what is shown"])
    assert torch.equal(layers(embeddings, real), layers(embeddings, real))
