"""`vtmask compare`: compares runs side by side on a page."""

import argparse

from vtmask.cli import arguments


def add(commands: "arguments.Subcommands") -> None:
    parser = commands.add_parser(
        "compare",
        help="runs side by side, on a page",
        description="Prints the evaluations of runs side by side, and writes a page that also "
        "shows the differences of their configs and overlays their curves.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="workdir of train.py, or a folder that evaluate.py wrote",
    )
    parser.add_argument("--out", default="compare.html", help="the page (%(default)s)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from vtmask.evaluation.compare import compare

    compare(options.runs, options.out)
    return 0
