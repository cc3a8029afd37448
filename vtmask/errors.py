"""Errors that users can fix."""

from collections.abc import Iterable


class UserError(Exception):
    """A problem that the user can fix. The message is one line: file, field, and what to do."""


def check_choice(field: str, value: str, choices: Iterable[str]) -> None:
    """Raises a UserError unless the value is one of the choices."""
    if value not in choices:
        expected = " or ".join(map(repr, choices))
        raise UserError(f"{field} is {value!r}, expected {expected}")


def reason(error: Exception) -> str:
    """Returns the innermost cause that an error's first line names."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].rsplit(": ", 1)[-1]  # TensorStore joins causes with colons
