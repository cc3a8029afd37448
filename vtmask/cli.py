"""Starts a command: flags in, one line out where something is wrong."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from vtmask.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Parses flags and runs `main`.

    A `UserError`, a file that can't be read or written, and a flag or config field that does not
    exist or has the wrong type end the command with one line and exit code 1.
    VTMASK_TRACEBACK=1 shows the traceback instead.
    """

    def run_main(_: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # Orbax tells of every file at INFO
        if not _wants_traceback():  # threads of Orbax print theirs before the error reaches `main`
            logging.get_absl_handler().addFilter(lambda record: not record.exc_info)
            sys.unraisablehook = lambda _: None
        try:
            main()
        except (UserError, OSError) as error:
            _exit(error)

    app.run(run_main, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    for argument in argv[1:]:
        path = argument.removeprefix("--config=")
        if path != argument and not Path(path).is_file():
            _exit(UserError(f"--config={path}: no such recipe; configs/ has them"))
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _exit(error)
    except AttributeError as error:  # ml_collections, on an override of a field that is not there
        _exit(UserError(f"no such config field: {str(error).strip(chr(34) + chr(39))}"))


def _wants_traceback() -> bool:
    return bool(os.environ.get("VTMASK_TRACEBACK"))


def _exit(error: Exception) -> NoReturn:
    if _wants_traceback():
        raise error
    sys.exit("error: " + " ".join(str(error).replace("\\n", " ").split()))
