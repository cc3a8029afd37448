"""Errors that are written for people."""


class UserError(Exception):
    """Something the user can mend. The message is one line: which file, which field, what to do."""
