"""What a server can do beyond OpenAI's protocol, found out once and remembered.

Fields that a server does not know are mostly ignored without a word, so that none is trusted because it was sent. What
a server takes is read in the description of its own interface (``/openapi.json``, which vLLM and SGLang publish); that
frames arrive with their times is seen in two tiny videos that differ in their times alone: where a prompt gets longer,
the times are in it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_log = logging.getLogger(__name__)
_REQUEST = "ChatCompletionRequest"
Fetch = Callable[[str, Mapping[str, Any] | None], Awaitable[Any]]
"""An address and what to post there (None gets it) -> the JSON of the answer; None where there is no such page."""


@dataclass(frozen=True)
class Abilities:
    """What is known of a server; the defaults are what OpenAI's protocol has."""

    version: str = ""
    """As the server says it; empty where it does not."""
    fields: frozenset[str] = field(default_factory=frozenset)
    """Fields of a request for a chat completion, by its own description; empty where there is none."""
    names_media: bool = False
    """Whether a frame may carry a ``uuid``, by which what it became is found again."""

    @property
    def scores_tokens(self) -> bool:
        """Whether log-probabilities of given tokens can be asked for (vLLM #43463)."""
        return {"logprob_token_ids", "return_tokens_as_token_ids"} <= self.fields

    @property
    def takes_media_settings(self) -> bool:
        """Whether a request may say what the frames of its video are (vLLM #40133)."""
        return "media_io_kwargs" in self.fields

    @property
    def gives_token_ids(self) -> bool:
        """Whether the ids of drawn tokens can be asked for."""
        return "return_token_ids" in self.fields


def root_of(base_url: str) -> str:
    """Where a server's own pages are: ``http://host:8000/v1`` -> ``http://host:8000``."""
    parts = urlsplit(base_url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/").removesuffix("/v1"), "", ""))


async def abilities_of(base_url: str, fetch: Fetch) -> Abilities:
    """What a server says of itself."""
    root = root_of(base_url)
    described, version = await fetch(f"{root}/openapi.json", None), await fetch(f"{root}/version", None)
    schemas = _at(described, "components", "schemas")
    request = _at(schemas, _REQUEST, "properties")
    named = [name for name, schema in schemas.items() if "uuid" in _at(schema, "properties")]
    return Abilities(
        version=str(_at(version).get("version", ""))[:40],
        fields=frozenset(map(str, request)),
        names_media=any("Image" in str(name) for name in named) or ("media_io_kwargs" in request and bool(named)),
    )


def _at(page: Any, *names: str) -> dict[str, Any]:
    """The object at a path of names in a page that may be anything; empty where there is none."""
    for name in names:
        page = page.get(name) if isinstance(page, dict) else None
    return page if isinstance(page, dict) else {}
