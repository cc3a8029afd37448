"""Arguments that several subcommands share."""

import argparse
from typing import TYPE_CHECKING

from vtmask.features.extractors import ExtractorConfig

if TYPE_CHECKING:
    # Generic to type checkers only.
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]


def positive(text: str) -> int:
    """An integer of 1 or more, for `type=`."""
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """An integer of 0 or more, for `type=`."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f"{text} is less than {least}")
    return number


def add_extractor(parser: argparse.ArgumentParser) -> None:
    """Declares the feature extractor's arguments, which `extractor` reads."""
    parser.add_argument(
        "--model",
        default="s3d",
        help="s3d (the default), pixel-statistics-v1, which needs no weights, or a Python callable "
        "as FILE.py:NAME or MODULE:NAME",
    )
    parser.add_argument(
        "--weights", help="for s3d: s3d_howto100m.pth, or a folder that `vtmask convert` made of it"
    )
    parser.add_argument(
        "--dtype", default="float32", help="of s3d's activations: float32 or bfloat16"
    )
    parser.add_argument(
        "--batch_size", type=positive, default=8, help="windows per call of the model (%(default)s)"
    )


def extractor(options: argparse.Namespace) -> ExtractorConfig:
    return ExtractorConfig(options.model, options.weights, options.dtype, options.batch_size)
