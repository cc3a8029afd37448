"""Errors that are written for people."""

from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend. The message is one line: which file, which field, what to do."""


def check_choice(field: str, value: str, choices: Iterable[str]) -> None:
    """UserError unless the value is one of the choices."""
    if value not in choices:
        expected = " or ".join(map(repr, choices))
        raise UserError(f"{field} is {value!r}, expected {expected}")


def reason(error: Exception) -> str:
    """Why it failed, in a few words: the first line's innermost cause."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].rsplit(": ", 1)[-1]  # TensorStore strings causes together with colons
