"""`vtmask inspect`: shows what a model will see at a training step."""

import argparse
import sys
from pathlib import Path

from vtmask import program
from vtmask.cli import arguments


def add(commands: "arguments.Subcommands") -> None:
    parser = commands.add_parser(
        "inspect",
        usage="vtmask inspect --config=RECIPE [--config.FIELD=VALUE …] [--step=N] [--num_clips=N] "
        "[--out=FOLDER]",
        help="what a model will see at a training step",
        description="Prints the clips of a training step, masked as they will be, their lengths "
        "and how much is padding. With --out, also writes a page with frames of the videos.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="RECIPE",
        help="configs/demo.py, …; any field can be overridden, as with --config.data.dir=DATA",
    )
    parser.add_argument(
        "--step", type=arguments.not_negative, default=0, help="training step, from %(default)s"
    )
    parser.add_argument(
        "--num_clips", type=arguments.not_negative, default=8, help="clips to show (%(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the page, index.html")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    # Recipes import each other as configs.demo, from the parent of configs/ or the current folder.
    sys.path[:0] = ["", str(Path(options.config).absolute().parent.parent)]
    config = program.read_config(options.config, options.overrides)
    from vtmask.inspection.inspect import inspect

    inspect(config, options.step, options.num_clips, options.out)
    return 0
