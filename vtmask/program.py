"""Starts a program: parses flags, and reports errors that the user can fix in one line."""

import contextlib
import difflib
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from vtmask import disk
from vtmask.errors import UserError

# Modules that come only with `pip install vtmask[train]`.
_OF_TRAINING = (
    *("array_record", "jinja2", "matplotlib", "PIL", "tensorboard", "tensorflow"),
    "tensorflow_datasets",
)
_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")


def run(main: Callable[[], None]) -> None:
    """Parses absl's flags and runs `main`; errors are reported as `one_line_errors` does."""

    def run_main(_: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # Orbax reports every file at INFO
        quiet_orbax()
        with one_line_errors():
            main()

    def parse(argv: list[str]) -> list[str]:
        with one_line_errors():
            return _parse(argv, flags.FLAGS)

    app.run(run_main, flags_parser=parse)


def read_config(recipe: str, overrides: Sequence[str]) -> ConfigDict:
    """Returns the config of a recipe, with fields overridden as on train.py's command line.

    Args:
      recipe: path of the recipe, with its argument if it takes one: configs/zeroshot.py:msrvtt.
      overrides: such as "--config.data.dir=DATA", or the same as two arguments.

    Raises:
      UserError: there is no such recipe or field, or an argument is not an override.
      absl.flags.Error: a value has the wrong type.
    """
    values = flags.FlagValues()
    argv = ["", f"--config={recipe}", *overrides]
    config = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    unused = _parse(argv, values)[1:]
    if unused:
        raise UserError(f"unexpected argument {unused[0]!r}")
    return config.value


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with one line and exit code 1 on an error that the user can fix.

    These are `UserError`, files that can't be read or written, and unknown or mistyped flags.
    VTMASK_TRACEBACK=1 shows the traceback instead.
    """
    try:
        yield
    except disk.errors(UserError, flags.Error) as error:
        if _wants_traceback():
            raise
        sys.exit(f"error: {' '.join(str(error).split())}")
    except ModuleNotFoundError as error:
        if _wants_traceback() or (error.name or "").partition(".")[0] not in _OF_TRAINING:
            raise
        sys.exit(f"error: {error.name} is not installed; pip install 'vtmask[train]'")


def quiet_orbax() -> None:
    """Hides tracebacks of Orbax's threads and tasks for the rest of the program.

    Orbax prints them before the caller sees the error, and gcsfs logs errors of a bucket.
    VTMASK_TRACEBACK=1 shows them.
    """
    if _wants_traceback():
        return
    logging.use_absl_handler()
    logging.get_absl_handler().addFilter(
        lambda record: (
            not (record.exc_info and ("orbax" in record.pathname or record.name == "asyncio"))
            and record.name != "gcsfs"
        )
    )
    sys.unraisablehook = lambda _: None
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)


def beam_options(flag: str) -> Any:
    """Returns Apache Beam's options, from the value of --beam_pipeline_options."""
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(
            "--beam_pipeline_options: Apache Beam is not installed; pip install -e '.[beam]'"
        ) from error
    return PipelineOptions([f"--{option}" for option in flag.split(",")])


def _parse(argv: Sequence[str], values: flags.FlagValues) -> list[str]:
    """Parses flags into `values`; checks --config=RECIPE and the overridden fields."""
    recipes = [arg.removeprefix("--config=") for arg in argv if arg.startswith("--config=")]
    recipes += [value for flag, value in pairwise(argv) if flag == "--config"]
    for recipe in recipes:
        if not Path(recipe.partition(":")[0]).is_file():  # configs/zeroshot.py:msrvtt
            raise UserError(f"--config={recipe}: no such recipe; see configs/")
    try:
        return values(argv)
    except (AttributeError, LookupError, ValueError):
        # ml_collections raises these if the recipe lacks a field, but so may the recipe itself.
        overridden = [match[1] for arg in argv if (match := _OVERRIDE.match(arg))]
        if recipes and overridden:
            fields = dict(_fields(read_config(recipes[-1], [])))
            for field in overridden:
                _require_field(fields, field, recipes[-1])
        raise


def _require_field(fields: Mapping[str, Any], field: str, recipe: str) -> None:
    """Raises a UserError if the recipe has no such field; fields are paths such as optim.lr."""
    if field in fields:
        return
    parent, _, name = field.rpartition(".")
    if parent in fields and not isinstance(fields[parent], ConfigDict):
        raise UserError(f"--config.{field}: {parent} is {fields[parent]!r}, which has no fields")
    paths = {path.rpartition(".")[2]: path for path in fields}  # by the last part of a path
    closest = difflib.get_close_matches(field, fields, n=1)
    closest = closest or [paths[match] for match in difflib.get_close_matches(name, paths, n=1)]
    top = ", ".join(path for path in fields if "." not in path)
    advice = f'Did you mean "{closest[0]}"?' if closest else f"It has {top}."
    raise UserError(f'--config.{field}: {recipe} has no field "{field}". {advice}')


def _fields(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the path and value of every field, including fields that hold others."""
    for name, value in config.items():
        yield f"{prefix}{name}", value
        if isinstance(value, ConfigDict):
            yield from _fields(value, f"{prefix}{name}.")


def _wants_traceback() -> bool:
    return bool(os.environ.get("VTMASK_TRACEBACK"))
