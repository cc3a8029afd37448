"""`vtmask extract`: extracts features of video files."""

import argparse
import os

from vtmask import disk, program
from vtmask.cli import arguments
from vtmask.features import extraction, feature_folder, listing

_SOME_SKIPPED = 3  # exit code


def add(commands: "arguments.Subcommands") -> None:
    parser = commands.add_parser(
        "extract",
        help="features of video files",
        description="Writes the features of every video to OUT/NAME.npy, float16 [seconds, size]. "
        "Videos whose features exist are left alone, so the same command continues after a stop. "
        "Exit code: 0, or 3 if a video was skipped.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEOS",
        help="folder, file, pattern ('videos/**/*.mp4') or list (.txt or .lst, one path per line)",
    )
    parser.add_argument("--out", required=True, type=disk.local, help="folder of the features")
    arguments.add_extractor(parser)
    parser.add_argument(
        "--num_decoders",
        type=arguments.positive,
        default=os.cpu_count() or 1,
        help="processes that decode, by default one per core (%(default)s)",
    )
    parser.add_argument("--shard", default="1/1", help="process only this part of the videos: 3/64")
    parser.add_argument(
        "--beam_pipeline_options",
        help="run on Apache Beam, with these options: "
        "direct_running_mode=multi_processing,direct_num_workers=8",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    shard = listing.Shard.parse(options.shard)
    videos = [video for video in listing.find(options.videos) if shard.has(video.name)]
    log = options.out / feature_folder.log_name(shard)
    config = arguments.extractor(options)
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
