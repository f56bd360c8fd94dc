"""What a back end raises."""

from __future__ import annotations

__all__ = ["BackendError"]


class BackendError(Exception):
    """A back end cannot do what was asked; the message says why and names the remedy."""
