"""What is read off an answer of OpenAI's chat protocol, and refused in it: a server may send anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import torch
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice as ChatChoice
from torch import Tensor

from modules.parsing import LETTERS

TopLogProbs: TypeAlias = list[tuple[str, float]]
_SURE = 0.01
"""Nats above 0 that rounding may bring a log-probability to."""
_NEVER = -1e4
"""Nats below which a probability is 0 in double precision."""

_LEAST_LEFT = 1e-4
"""Probability that float32 leaves with three digits beside others."""
_PROCESSED = "start the server with --logprobs-mode processed_logprobs and set log_probs: processed"
_CUT_OFF = -9998.0
"""Nats below which vLLM writes -9999 for whatever it is."""


class MalformedAnswerError(ValueError):
    """An answer that is none; asking again may help."""


class Reply(Protocol):
    """What the official client received, not read yet."""

    def parse(self) -> object: ...


def choice_of(reply: Reply) -> ChatChoice:
    """The first choice of a reply.

    Raises:
        MalformedAnswerError: the reply is no completion, or has no message.
    """
    try:
        completion = reply.parse()
    except Exception as error:  # the client builds its objects from whatever came
        raise MalformedAnswerError(f"the answer is no completion: {type(error).__name__}: {error}") from error
    choices = completion.choices if isinstance(completion, ChatCompletion) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], ChatChoice):
        raise MalformedAnswerError(f"the answer is no completion with a choice: {str(completion)[:80]!r}")
    if not isinstance(choices[0].message, ChatCompletionMessage):
        raise MalformedAnswerError("the choice has no message")
    return choices[0]


def text_of(choice: ChatChoice) -> str:
    """The text of a message, empty where there is none (thinking that was cut off, a refusal).

    Raises:
        MalformedAnswerError: the content is no text.
    """
    content: object = choice.message.content
    if content is not None and not isinstance(content, str):
        raise MalformedAnswerError(f"the message's content is no text but {type(content).__name__}")
    return str(content or "").encode(errors="replace").decode()  # halves of surrogate pairs can be written nowhere


def top_log_probs(choice: ChatChoice) -> TopLogProbs:
    """(token, log-probability in nats) of the likeliest first tokens; none where the server gives none.

    Raises:
        MalformedAnswerError: an entry is no token with a log-probability.
    """
    content = getattr(choice.logprobs, "content", None) if choice.logprobs else None
    if not content:
        return []
    top = []
    for entry in getattr(content[0], "top_logprobs", None) or []:
        token, log_prob = getattr(entry, "token", None), getattr(entry, "logprob", None)
        if not isinstance(token, str) or not isinstance(log_prob, (int, float)) or not log_prob <= _SURE:
            raise MalformedAnswerError(f"token {token!r} has the log-probability {log_prob!r}")
        top.append((token, max(float(log_prob), _NEVER)))
    return top


def letter_log_probs(top: TopLogProbs, num_options: int) -> Tensor:
    """log p of each option's letter, its spellings (``A``, `` A``) summed.

    Args:
        top: of the first token.
        num_options: letters from A on.

    Returns:
        float32 (O,) nats; -inf for letters that are not there, or whose probability rounds to 0: servers write minus
        infinity as some large number.
    """
    p: dict[str, float] = {}
    for token, log_prob in top:
        letter = token.strip(" \t\n\u2581\u0120")  # and what tokenizers write for a blank
        p[letter] = p.get(letter, 0.0) + math.exp(log_prob)
    return torch.tensor([math.log(p[c]) if p.get(c) else -math.inf for c in LETTERS[:num_options]])


def token_log_probs_of(top: TopLogProbs, token_ids: list[int]) -> Tensor | None:
    """log p of given tokens, where tokens are written as ``token_id:NUMBER``.

    Args:
        top: of the first token.
        token_ids: O of them.

    Returns:
        float32 (O,) nats; None where one of them is missing.
    """
    by_name = dict(top)
    names = [f"token_id:{token_id}" for token_id in token_ids]
    if any(name not in by_name for name in names):
        return None
    return torch.tensor([by_name[name] if by_name[name] > _CUT_OFF else -math.inf for name in names])


def drawn_tokens(
    choice: ChatChoice, unsaid_ids: Sequence[int] = (), *, before_bias: bool = False
) -> tuple[Tensor, Tensor]:
    """Ids and log-probabilities of the tokens of an answer, the one that ends the turn among them.

    Args:
        choice: an answer.
        unsaid_ids: tokens that were not to be drawn.
        before_bias: the server's log-probabilities are of all tokens, and those that were not to be drawn are told
            beside each: what was drawn from is p / (1 - the sum of their p).

    Returns:
        int64 (L,), and float32 (L,) nats, of the distribution that was drawn from.

    Raises:
        MalformedAnswerError: the server tells no ids (``return_token_ids``), not a log-probability for each, or has
            drawn what was not to be drawn.
    """
    ids: object = getattr(choice, "token_ids", None)
    content = getattr(choice.logprobs, "content", None) if choice.logprobs else None
    if not isinstance(ids, list) or not ids or not all(type(i) is int and 0 <= i < 2**31 for i in ids):
        raise MalformedAnswerError(
            "the answer has no token ids: the engine has to be a vLLM that knows return_token_ids"
        )
    log_probs = [getattr(entry, "logprob", None) for entry in content or []]
    if len(log_probs) != len(ids):
        raise MalformedAnswerError(f"the answer has {len(ids)} tokens and {len(log_probs)} log-probabilities")
    if not all(isinstance(value, (int, float)) and value <= _SURE for value in log_probs):
        raise MalformedAnswerError(f"the answer's log-probabilities are none: {log_probs[:5]}")
    if unsaid := sorted({*ids} & {*unsaid_ids}):
        raise MalformedAnswerError(
            f"the server drew token {unsaid[0]}, which stands for a picture: it does not heed logit_bias"
        )
    drawn = torch.tensor(log_probs, dtype=torch.float64)
    if before_bias and unsaid_ids:
        drawn = drawn - torch.tensor([_log_rest(entry, unsaid_ids) for entry in content or []], dtype=torch.float64)
    return torch.tensor(ids), drawn.clamp(max=0.0).float()


def _log_rest(entry: object, unsaid_ids: Sequence[int]) -> float:
    """Of one token: the logarithm of what the others have left, 1 - sum of p.

    Raises:
        MalformedAnswerError: one of them is not told, or they leave nothing.
    """
    told = {
        getattr(top, "token", None): getattr(top, "logprob", None) for top in getattr(entry, "top_logprobs", None) or []
    }
    values = [told.get(f"token_id:{token_id}") for token_id in unsaid_ids]
    if not all(isinstance(value, (int, float)) and value <= _SURE for value in values):
        raise MalformedAnswerError(
            "the answer's log-probabilities are of all tokens, and those of placeholders, which are never drawn, are "
            f"not told: {_PROCESSED}"
        )
    left = 1.0 - sum(math.exp(value) for value in values if value is not None)
    if left <= _LEAST_LEFT:
        raise MalformedAnswerError(
            f"next to nothing is left beside placeholders, so that raw log-probabilities tell nothing: {_PROCESSED}"
        )
    return math.log(left)


def tokens_of(reply: Reply) -> tuple[int | None, int | None]:
    """Tokens of prompt (frames among them) and answer, as the server counts them; None where it does not say."""
    usage = getattr(reply.parse(), "usage", None)
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    known = [n if isinstance(n, int) and 0 <= n < 2**40 else None for n in counts]
    return known[0], known[1]
