"""The `vtmask` command."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from vtmask import program
from vtmask.features import extraction, feature_folder, listing, show
from vtmask.features.extractors import ExtractorConfig

_SOME_SKIPPED, _STOPPED = 3, 130  # exit codes


def main() -> None:
    options = _parser().parse_args()
    program.quiet_orbax()
    with program.one_line_errors():
        try:
            sys.exit(options.run(options))
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here", file=sys.stderr)
            sys.exit(_STOPPED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vtmask", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    extract = commands.add_parser(
        "extract",
        help="features of video files",
        description="Writes the features of every video to OUT/NAME.npy, float16 [seconds, size]. "
        "Videos that have some there are left alone, so the same command goes on after a stop. "
        "Exit code: 0, or 3 if a video was skipped.",
        allow_abbrev=False,
    )
    extract.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEOS",
        help="folder, file, pattern ('videos/**/*.mp4') or list (a .txt or .lst, a path a line)",
    )
    extract.add_argument("--out", required=True, type=Path, help="folder of the features")
    _add_model(extract)
    extract.add_argument(
        "--num_decoders",
        type=_positive,
        default=os.cpu_count() or 1,
        help="processes that decode, by default one a core (%(default)s)",
    )
    extract.add_argument("--shard", default="1/1", help="do only this part of the videos: 3/64")
    extract.add_argument(
        "--beam_pipeline_options",
        help="run on Apache Beam, with these options: "
        "direct_running_mode=multi_processing,direct_num_workers=8",
    )
    extract.set_defaults(run=_extract)

    features = commands.add_parser("features", help="look at features", allow_abbrev=False)
    picture = features.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "show",
        help="a picture of a video's features",
        description="Draws the frames of a video over the similarity of its features to each "
        "other: scenes are bright squares, repetitions bright stripes beside the diagonal.",
        allow_abbrev=False,
    )
    picture.add_argument("file", type=Path, metavar="FILE", help="features (.npy), or a video")
    picture.add_argument(
        "--video", type=Path, help="of the features; by default the one `vtmask extract` saw"
    )
    picture.add_argument("--out", type=Path, help="the picture, by default NAME.png here")
    _add_model(picture)
    picture.set_defaults(run=_show)
    _add_convert(commands)
    return parser


def _add_convert(commands: Any) -> None:
    convert = commands.add_parser(
        "convert",
        help="published weights to an exported model, and back",
        description="Writes published weights of VLM, VideoCLIP, BERT or S3D as an exported model "
        "to the folder OUT, or an exported model as published weights to the file OUT.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,  # those of vtmask.convert.Options
    )
    convert.add_argument(
        "input",
        type=Path,
        metavar="INPUT",
        help="checkpoint of MMPT (.pt), BERT of Hugging Face (folder, .safetensors or .bin), "
        "s3d_howto100m.pth, or the folder of an exported model",
    )
    convert.add_argument("--out", required=True, type=Path, help="a folder, or a file for PyTorch")
    convert.add_argument(
        "--vocab", type=Path, help="vocab.txt or tokenizer.json, by default those in INPUT"
    )
    convert.add_argument(
        "--num_heads", type=_positive, help="by default as config.json says, or hidden_size / 64"
    )
    convert.add_argument(
        "--max_video_len", type=_positive, help="frames a clip, by default 32, as published"
    )
    convert.add_argument(
        "--max_len", type=_positive, help="positions a sequence, by default 96, as published"
    )
    convert.add_argument(
        "--feature_extractor", help="name of the features, by default s3d-howto100m"
    )
    convert.add_argument(
        "--class_names", type=Path, help="names of a classifier's classes, a file with one a line"
    )
    convert.add_argument(
        "--isolated_layers",
        type=int,
        help="that a VLM was fine-tuned with, 12 as published; by default none, as in pre-training",
    )
    convert.set_defaults(run=_convert)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default="s3d",
        help="s3d (the default), pixel-statistics-v1, which needs no weights, hf:FOLDER or hf:NAME "
        "of a vision encoder of transformers, or a Python callable as FILE.py:NAME or MODULE:NAME",
    )
    parser.add_argument(
        "--weights", help="for s3d: s3d_howto100m.pth, or a folder that `vtmask convert` made of it"
    )
    parser.add_argument(
        "--dtype", default="float32", help="of activations, of s3d and hf: float32 or bfloat16"
    )
    parser.add_argument(
        "--batch_size", type=_positive, default=8, help="windows a call of the model (%(default)s)"
    )
    parser.add_argument(
        "--pooling",
        help="of hf: pooled, the model's vector of an image (the default), or patches, their mean",
    )
    parser.add_argument("--frame_rate", type=_positive, help="of hf: frames a second, by default 1")
    parser.add_argument(
        "--frames_per_feature",
        type=_positive,
        help="of hf: frames that a feature is the mean of, by default 1",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _extractor(options: argparse.Namespace) -> ExtractorConfig:
    names = (field.name for field in dataclasses.fields(ExtractorConfig))
    return ExtractorConfig(**{name: getattr(options, name) for name in names})


def _extract(options: argparse.Namespace) -> int:
    shard = listing.Shard.parse(options.shard)
    videos = [video for video in listing.find(options.videos) if shard.has(video.name)]
    log = options.out / feature_folder.log_name(shard)
    config = _extractor(options)
    if options.beam_pipeline_options:
        beam_options = program.beam_options(options.beam_pipeline_options)
        from vtmask.features import beam  # an extra

        outcomes = beam.extract_all(videos, config, options.out, log, beam_options)
    else:
        outcomes = extraction.extract_all(
            videos, config.create(), options.out, log, options.num_decoders
        )
    print(*feature_folder.summary(outcomes, len(videos), options.out), sep="\n")
    return _SOME_SKIPPED if any(not outcome.features for outcome in outcomes) else 0


def _show(options: argparse.Namespace) -> int:
    out = options.out or Path(f"{options.file.stem}.png")
    show.write_picture(options.file, out, options.video, _extractor(options))
    print(f"Picture: {out}")
    return 0


def _convert(options: argparse.Namespace) -> int:
    from vtmask import convert  # only here, as it needs JAX

    given = vars(options)
    fields = {field.name for field in dataclasses.fields(convert.Options)}
    chosen = convert.Options(**{name: given[name] for name in fields & given.keys()})
    for note in convert.convert(options.input, options.out, chosen):
        print(note)
    print(f"Converted: {options.out}")
    return 0


if __name__ == "__main__":
    main()
