"""`vtmask convert`: converts published weights to an exported model, and back."""

import argparse
import dataclasses

from vtmask import disk
from vtmask.cli import arguments


def add(commands: "arguments.Subcommands") -> None:
    parser = commands.add_parser(
        "convert",
        help="published weights to an exported model, and back",
        description="Writes published weights of VLM, VideoCLIP, BERT or S3D as an exported model "
        "to the folder OUT, or an exported model as published weights to the file OUT.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,  # those of vtmask.convert.Options
    )
    parser.add_argument(
        "input",
        type=disk.local,
        metavar="INPUT",
        help="checkpoint of MMPT (.pt), BERT of Hugging Face (folder, .safetensors or .bin), "
        "s3d_howto100m.pth, or the folder of an exported model",
    )
    parser.add_argument(
        "--out", required=True, type=disk.local, help="a folder, or a file for PyTorch"
    )
    parser.add_argument(
        "--vocab",
        type=disk.local,
        help="vocab.txt or tokenizer.json, by default those in INPUT",
    )
    parser.add_argument(
        "--num_heads",
        type=arguments.positive,
        help="by default as config.json says, or hidden_size / 64",
    )
    parser.add_argument(
        "--max_video_len",
        type=arguments.positive,
        help="frames per clip, by default 32, as published",
    )
    parser.add_argument(
        "--max_len",
        type=arguments.positive,
        help="positions per sequence, by default 96, as published",
    )
    parser.add_argument(
        "--feature_extractor", help="name of the features, by default s3d-howto100m"
    )
    parser.add_argument(
        "--class_names",
        type=disk.local,
        help="names of a classifier's classes, a file with one per line",
    )
    parser.add_argument(
        "--isolated_layers",
        type=int,
        help="of a fine-tuned VLM, 12 as published; by default none, as in pre-training",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from vtmask import convert

    names = {field.name for field in dataclasses.fields(convert.Options)} & vars(options).keys()
    conversion = convert.Options(**{name: getattr(options, name) for name in names})
    for note in convert.convert(options.input, options.out, conversion):
        print(note)
    print(f"Converted: {options.out}")
    return 0
