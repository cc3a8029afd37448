"""Starts a command: flags in, one line out where something is wrong."""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from vtmask import disk
from vtmask.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Parses flags and runs `main`, with errors as `one_line_errors` has them."""

    def run_main(_: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # Orbax tells of every file at INFO
        quiet_orbax()
        with one_line_errors():
            main()

    app.run(run_main, flags_parser=_parse)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with one line and exit code 1 where something is wrong a user can mend.

    That is a `UserError`, a file that can't be read or written, a flag or config field that does
    not exist or has the wrong type. VTMASK_TRACEBACK=1 shows the traceback instead.
    """
    try:
        yield
    except disk.errors(UserError, flags.Error, AttributeError, KeyError) as error:
        # ml_collections, on a field that there is not.
        nearest = re.search(r"Did you mean .*\?", str(error))
        if _wants_traceback() or (isinstance(error, (AttributeError, KeyError)) and not nearest):
            raise
        said = f"config has no such field. {nearest[0]}" if nearest else str(error)
        sys.exit(f"error: {' '.join(said.split())}")


def quiet_orbax() -> None:
    """Keeps tracebacks of Orbax's threads and tasks from the screen, for the rest of the program.

    They tell them before the caller hears of the error, as gcsfs does of errors of a bucket.
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
    """Apache Beam's options from the value of --beam_pipeline_options."""
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(
            "--beam_pipeline_options: Apache Beam is not installed; pip install -e '.[beam]'"
        ) from error
    return PipelineOptions([f"--{option}" for option in flag.split(",")])


def _parse(argv: list[str]) -> list[str]:
    recipes = [arg.removeprefix("--config=") for arg in argv if arg.startswith("--config=")]
    recipes += [value for flag, value in pairwise(argv) if flag == "--config"]
    with one_line_errors():
        for recipe in recipes:
            if not Path(recipe.partition(":")[0]).is_file():  # configs/zeroshot.py:msrvtt
                raise UserError(f"--config={recipe}: no such recipe; configs/ has them")
        return flags.FLAGS(argv)


def _wants_traceback() -> bool:
    return bool(os.environ.get("VTMASK_TRACEBACK"))
