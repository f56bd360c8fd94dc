"""What a back end raises, and how it repeats what a library raised."""

from __future__ import annotations

__all__ = ["BackendError", "first_line"]


class BackendError(Exception):
    """A back end cannot do what was asked; the message says why and names the remedy."""


def first_line(error: Exception) -> str:
    """What it says, in short; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
