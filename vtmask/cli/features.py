"""`vtmask features show`: draws a picture of a video's features."""

import argparse
from pathlib import Path

from vtmask import disk
from vtmask.cli import arguments


def add(commands: "arguments.Subcommands") -> None:
    features = commands.add_parser("features", help="look at features", allow_abbrev=False)
    parser = features.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "show",
        help="a picture of a video's features",
        description="Draws the frames of a video above the similarity of its features to each "
        "other: scenes are bright squares, repetitions bright stripes beside the diagonal.",
        allow_abbrev=False,
    )
    parser.add_argument("file", type=disk.local, metavar="FILE", help="features (.npy), or a video")
    parser.add_argument(
        "--video",
        type=disk.local,
        help="video of the features; by default the one that `vtmask extract` read",
    )
    parser.add_argument("--out", type=disk.local, help="the picture, by default NAME.png here")
    arguments.add_extractor(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from vtmask.features import show

    out = options.out or Path(f"{options.file.stem}.png")
    show.write_picture(options.file, out, options.video, arguments.extractor(options))
    print(f"Picture: {out}")
    return 0
