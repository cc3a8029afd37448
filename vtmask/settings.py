"""Turns a recipe's settings into dataclasses, with readable errors."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vtmask.errors import UserError


def create(kind: Any, settings: Mapping[str, Any], where: str, name: str, **given: Any) -> Any:
    """Makes a dataclass from a recipe's settings.

    Args:
      kind: the dataclass.
      settings: values by field.
      where: the settings' place in the config, such as "config.task".
      name: the dataclass's name in the config, for errors.
      given: fields that a recipe cannot set.

    Raises:
      UserError: a field is unknown, or one without a default is missing.
    """
    fields = [f for f in dataclasses.fields(kind) if f.init and f.name not in given]
    names = [field.name for field in fields]
    for setting in settings:
        if setting not in names:
            raise UserError(f"{where}.{setting}: {name} takes {', '.join(names) or 'no settings'}")
    for field in fields:
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and field.name not in settings:
            raise UserError(f"{where}.{field.name} is missing; {name} needs it")
    return kind(**given, **settings)
