"""Answers as JSON that every reader takes."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from modules.files.strict_json import strict_json
from recipes.serving.request_errors import RequestError


def json_answer(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer; numbers that are not finite become null."""
    return Response(strict_json(content), status, media_type="application/json", headers=headers)


def refusal(error: RequestError) -> Response:
    """What a client is told when something is wrong."""
    return json_answer(error.content(), error.status, error.headers)
