"""Errors that a user can cause, whose message is one line."""
from __future__ import annotations


class UserError(Exception):
    """An error that the user can correct, such as in a flag or a file.

    The message is one line that names the flag or file, what was found, and what to do.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))


class Diverged(UserError):
    """A loss, a weight or an optimizer's moment is no longer a finite number."""


def first_few(names, limit: int = 5) -> str:
    """'a, b, c and 7 more': a list of names short enough for one line."""
    names = [str(name) for name in names]
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
