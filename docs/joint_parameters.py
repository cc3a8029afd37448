"""Griffe extension: `start, end: …` in a docstring describes each of these parameters."""

import re
from collections.abc import Collection
from typing import Any

from griffe import Class, Docstring, Extension, Function

_ENTRY = re.compile(
    r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+)(?P<text>: [^\n]*(?:\n(?P=indent) [^\n]*)*)$",
    re.MULTILINE,
)


class JointParameters(Extension):
    def on_function(self, *, func: Function, **kwargs: Any) -> None:
        del kwargs
        _separate(func.docstring, [parameter.name for parameter in func.parameters])

    def on_class_members(self, *, cls: Class, **kwargs: Any) -> None:
        del kwargs
        _separate(cls.docstring, cls.members)


def _separate(docstring: Docstring | None, described: Collection[str]) -> None:
    def entries(entry: re.Match[str]) -> str:
        names = entry["names"].split(", ")
        if not all(name in described for name in names):
            return entry[0]
        return "\n".join(f"{entry['indent']}{name}{entry['text']}" for name in names)

    if docstring is not None:
        docstring.value = _ENTRY.sub(entries, docstring.value)
