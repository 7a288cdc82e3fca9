"""Selections that others have published, one layout a file."""
