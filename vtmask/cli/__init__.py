"""The `vtmask` command, with one module per subcommand.

A subcommand's module has `add`, which declares its arguments, and `run`, which takes them and
returns the exit code. Slow imports are in `run`, so that `vtmask --help` is quick. A subcommand
with an argument `--config` also accepts overrides of the recipe's fields, such as
`--config.data.dir=DATA`; they arrive in `options.overrides`.
"""

import argparse
import sys

from vtmask import program
from vtmask.cli import compare, convert, extract, features, inspect
from vtmask.search import commands as search

_SUBCOMMANDS = (extract, features, convert, inspect, compare, search)
_STOPPED = 130  # exit code after Ctrl-C, by the convention of shells


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="vtmask", description="Video-text models, features and data.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for subcommand in _SUBCOMMANDS:
        subcommand.add(commands)
    with program.one_line_errors():
        options, overrides = parser.parse_known_args()
        if overrides and "config" not in options:
            parser.error(f"unrecognized arguments: {' '.join(overrides)}")
        options.overrides = overrides
        program.quiet_orbax()
        try:
            sys.exit(options.run(options))
        except KeyboardInterrupt:
            print("stopped; run the same command again to continue", file=sys.stderr)
            sys.exit(_STOPPED)
