"""Builds a data set: `python -m data.build msrvtt --manual_dir=… --data_dir=…`.

It takes the flags of `tfds build data/msrvtt`, but needs Apache Beam only if the build uses it.
"""

import argparse
import importlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from vtmask import files, program
from vtmask.errors import UserError, check_choice

_REASONS = 3  # reasons in a split's line; the report has all


def main() -> None:
    options = _parse()
    module = importlib.import_module(f"data.{options.name}.{options.name}_dataset_builder")
    with program.one_line_errors():
        download_config = _download_config(options, module.Builder)
        builder = module.Builder(
            config=options.config and _config(options.config, module.Builder),
            data_dir=options.data_dir and os.path.expanduser(options.data_dir),
            tokenizer=options.tokenizer,
        )
        folder = Path(builder.data_path)
        before = folder.exists()
        builder.download_and_prepare(download_config=download_config)
        lines = list(_summary(builder.info, folder))
    if before:
        print("It was built before and is used as it is; remove its folder to build it again.")
    print(f"{builder.info.full_name} is in {folder}", *lines, sep="\n")


def _parse() -> argparse.Namespace:
    builders = Path(__file__).parent.glob("*/*_dataset_builder.py")
    parser = argparse.ArgumentParser(
        prog="python -m data.build", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("name", choices=sorted(path.parent.name for path in builders))
    parser.add_argument("--manual_dir", help="folder of the files that the README.md asks for")
    parser.add_argument(
        "--config",
        help="builder config, by default the data set's first; or the fields of a new one as JSON: "
        '\'{"name": "small-vocabulary", "vocab_size": 2000}\'',
    )
    parser.add_argument("--data_dir", help="where to write; TFDS's own folder by default")
    parser.add_argument(
        "--tokenizer",
        help="SentencePiece .model, vocab.txt, tokenizer.json or a folder with one; by default one "
        "is trained",
    )
    parser.add_argument(
        "--beam_pipeline_options",
        help="build on Apache Beam, with these options: "
        "direct_running_mode=multi_processing,direct_num_workers=8",
    )
    return parser.parse_args()


def _download_config(options: argparse.Namespace, builder: Any) -> Any:
    # Imported here because processes that a builder spawns import this file, and should not wait
    # for TensorFlow.
    from vtmask.datasets.builder import VideoTextBuilder

    if not issubclass(builder, VideoTextBuilder):
        for flag in ("manual_dir", "beam_pipeline_options"):
            if getattr(options, flag) is not None:
                raise UserError(f"--{flag}: {options.name} renders its videos; leave the flag out")
        return None
    if options.manual_dir is None:
        readme = Path(str(builder.pkg_dir_path), "README.md")
        raise UserError(f"--manual_dir is missing: the folder of the files that {readme} lists")
    manual_dir = Path(options.manual_dir).expanduser()
    if not manual_dir.is_dir() or not any(manual_dir.iterdir()):
        raise UserError(f"--manual_dir={manual_dir}: no such folder, or an empty one")
    return tfds.download.DownloadConfig(
        manual_dir=manual_dir,
        beam_options=options.beam_pipeline_options
        and program.beam_options(options.beam_pipeline_options),
    )


def _config(value: str, builder: Any) -> Any:
    """Returns the name of a config, or a new config from JSON of its fields."""
    if not value.startswith("{"):
        check_choice("--config", value, builder.builder_configs)
        return value
    try:
        given = json.loads(value)
    except json.JSONDecodeError as error:
        raise UserError(f"--config: column {error.colno}: not JSON: {error.msg}") from error
    name = files.field(given, "name", str, "--config")
    if name in builder.builder_configs or not re.fullmatch(r"\w[\w.+-]*", name):
        raise UserError(
            f"--config: field 'name' is {name!r}, expected letters and digits, and another name "
            f"than {', '.join(builder.builder_configs)}"
        )
    kind = builder.builder_config_cls
    known = {field.name: field for field in fields(kind)}
    for field in given:
        check_choice("--config: a field", field, known)
        expected = known[field].type
        if isinstance(expected, type):
            files.field(given, field, expected, "--config")
    for field in known.values():
        if field.name not in given and field.default is field.default_factory is MISSING:
            raise UserError(f"--config: has no field {field.name!r}, which this data set needs")
    return kind(**given)


def _summary(info: tfds.core.DatasetInfo, folder: Path) -> Iterator[str]:
    """Yields a line for each split, and the report if there is one."""
    report = folder / "build_report.json"
    if not report.exists():
        yield from (f"{name}: {split.num_examples} videos" for name, split in info.splits.items())
        return
    for name, counts in json.loads(report.read_text()).items():
        line = f"{name}: {counts['videos']} videos, {counts['num_skipped']} skipped"
        reasons = [f"{count} {reason}" for reason, count in counts["reasons"].items()]
        more = ["…"] if len(reasons) > _REASONS else []
        yield line + (f" ({'; '.join(reasons[:_REASONS] + more)})" if reasons else "")
    yield f"Report: {report.with_suffix('.html')}"


if __name__ == "__main__":
    main()
