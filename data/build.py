"""Builds a data set: `python -m data.build demo --config=default --data_dir=…`.

The same as `tfds build data/demo`, which wants Apache Beam installed even where it is not used.
"""

import argparse
import importlib
from pathlib import Path

from vtmask import cli
from vtmask.errors import check_choice


def main() -> None:
    builders = Path(__file__).parent.glob("*/*_dataset_builder.py")
    parser = argparse.ArgumentParser(prog="python -m data.build", description=__doc__)
    parser.add_argument("name", choices=sorted(path.parent.name for path in builders))
    parser.add_argument("--config", help="builder config; the data set's first by default")
    parser.add_argument("--data_dir", help="where to write; TFDS's own folder by default")
    parser.add_argument(
        "--tokenizer", help="SentencePiece .model or vocab.txt; by default one is trained"
    )
    options = parser.parse_args()

    module = importlib.import_module(f"data.{options.name}.{options.name}_dataset_builder")
    with cli.one_line_errors():
        if options.config is not None:
            check_choice("--config", options.config, module.Builder.builder_configs)
        builder = module.Builder(
            config=options.config, data_dir=options.data_dir, tokenizer=options.tokenizer
        )
        builder.download_and_prepare()
    print(f"{builder.info.full_name} is in {builder.data_path}")


if __name__ == "__main__":
    main()
