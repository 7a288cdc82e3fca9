"""Captions as `VideoQuestion`s: open questions that all ask for a description, with the captions as references."""

from __future__ import annotations

DESCRIBE = "Describe the video."
"""What every clip is asked, where a recipe does not say otherwise."""
