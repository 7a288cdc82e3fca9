"""A question that a server left without an answer; apart from the client, which takes a second to import."""

from __future__ import annotations


class UnansweredError(ConnectionError):
    """A server that answers others gave no usable answer to this question."""
