"""`vtmask index`, `vtmask search` and `vtmask serve`."""

import argparse
import contextlib
import datetime
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vtmask.errors import UserError
from vtmask.features.feature_folder import printable

_DEFAULT_PORT = 8000
_SOME_SKIPPED = 3  # exit code, as for `vtmask extract`


def add(commands: Any) -> None:
    """Adds the three to the subcommands of `vtmask`."""
    index = commands.add_parser(
        "index",
        help="make a folder of videos searchable",
        description="Adds videos to INDEX, updates those that changed and removes those whose file "
        "no longer exists. After a stop, the same command continues. Exit code: 0, or 3 if "
        "something was skipped.",
        allow_abbrev=False,
    )
    index.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEOS",
        help="folder, file, pattern ('videos/**/*.mp4') or list (.txt or .lst, one path per line)",
    )
    index.add_argument("--model", required=True, type=Path, help="folder of an exported model")
    index.add_argument("--out", required=True, type=Path, metavar="INDEX", help="folder")
    index.add_argument(
        "--num_decoders",
        type=int,
        default=os.cpu_count() or 1,
        help="processes that decode, by default one per core (%(default)s)",
    )
    _add_weights(index)
    index.set_defaults(run=_index)

    search = commands.add_parser(
        "search",
        help="find moments in an index",
        description="Prints the moments of the indexed videos that match the text, best first.",
        allow_abbrev=False,
    )
    search.add_argument("index", type=Path, metavar="INDEX")
    search.add_argument("text", metavar="TEXT")
    search.add_argument("-k", type=int, default=20, help="maximum number of moments (%(default)s)")
    search.add_argument(
        "--path", default="", help="only videos whose path contains this, or matches this pattern"
    )
    for name, when in (("--after", "first"), ("--before", "last")):
        search.add_argument(
            name,
            type=datetime.date.fromisoformat,
            metavar="DAY",
            help=f"{when} day of a file's last change, such as 2026-01-31",
        )
    for name, what in (("--shortest", "shortest"), ("--longest", "longest")):
        search.add_argument(name, type=float, metavar="SECONDS", help=f"{what} length of a video")
    search.add_argument(
        "--by", default="both", choices=("both", "pictures", "captions"), help="what to search"
    )
    search.add_argument("--json", action="store_true", help="print JSON")
    _add_model(search)
    search.set_defaults(run=_search)

    serve = commands.add_parser(
        "serve",
        help="search an index in the browser",
        description="Serves the page of an index, to this machine only unless --host is given. "
        "Other machines then need the token that is printed.",
        allow_abbrev=False,
    )
    serve.add_argument("index", type=Path, metavar="INDEX")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    serve.add_argument("--port", type=int, default=_DEFAULT_PORT, help="(%(default)s)")
    _add_model(serve)
    serve.set_defaults(run=_serve)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, help="folder of the index's model, if it has moved")
    _add_weights(parser)


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--s3d_weights", type=Path, help="s3d_howto100m.pth, if the model's features are S3D's"
    )


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    """Names the extra to install if a package that only search needs is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"search needs {error.name}, which is not installed; pip install -e '.[search]'"
        ) from error


def _index(options: argparse.Namespace) -> int:
    with _extra():
        from vtmask.search import indexing

    summary = indexing.index(
        options.videos, options.model, options.out, options.s3d_weights, options.num_decoders
    )
    print(*summary.lines(options.out), sep="\n")
    print(f"Its page: vtmask serve {options.out}")
    return _SOME_SKIPPED if summary.problems else 0


def _search(options: argparse.Namespace) -> int:
    with _extra():
        from vtmask.search.index import Index
        from vtmask.search.moments import Filter, clock, to_json

    index = Index(options.index, options.model, options.s3d_weights)
    chosen = Filter(options.path, options.after, options.before, options.shortest, options.longest)
    moments = index.search(options.text, options.k, chosen, options.by)
    if options.json:
        print(to_json(moments))
        return 0
    for moment in moments:
        caption = f"  “{moment.caption}”" if moment.caption else ""
        place = f"{clock(moment.start)}–{clock(moment.end)}"
        print(printable(f"{moment.score:8.2f}  {place:>13}  {moment.path}{caption}"))
    if not moments:
        print("No moments found", file=sys.stderr)
    return 0


def _serve(options: argparse.Namespace) -> int:
    with _extra():
        from vtmask.search import server
        from vtmask.search.index import Index

    server.serve(
        Index(options.index, options.model, options.s3d_weights), options.host, options.port
    )
    return 0
