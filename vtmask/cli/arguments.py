"""Arguments that several subcommands share."""

import argparse
import dataclasses
from typing import TYPE_CHECKING

from vtmask.features.extractors import ExtractorConfig

if TYPE_CHECKING:
    # The class is generic to type checkers only.
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]


def positive(text: str) -> int:
    """Parses an integer of 1 or more, for `type=`."""
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """Parses an integer of 0 or more, for `type=`."""
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
        help="s3d (the default), pixel-statistics-v1, which needs no weights, hf:FOLDER or hf:NAME "
        "of a vision encoder of transformers, or a Python callable as FILE.py:NAME or MODULE:NAME",
    )
    parser.add_argument(
        "--weights",
        help="for s3d: s3d_howto100m.pth, or a folder that `vtmask convert` made from it",
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        help="for s3d and hf: type of activations, float32 or bfloat16",
    )
    parser.add_argument(
        "--batch_size", type=positive, default=8, help="windows per call of the model (%(default)s)"
    )
    parser.add_argument(
        "--pooling",
        help="for hf: pooled, the model's image vector (the default), or patches, their mean",
    )
    parser.add_argument(
        "--frame_rate", type=positive, help="for hf: frames per second, by default 1"
    )
    parser.add_argument(
        "--frames_per_feature",
        type=positive,
        help="for hf: frames averaged into a feature, by default 1",
    )


def extractor(options: argparse.Namespace) -> ExtractorConfig:
    names = (field.name for field in dataclasses.fields(ExtractorConfig))
    return ExtractorConfig(**{name: getattr(options, name) for name in names})
