"""Builds a data set: `python -m data.build demo --data_dir=…`.

The same as `tfds build data/demo`, which wants Apache Beam installed even where it is not used.
"""

import argparse
import importlib
from pathlib import Path


def main() -> None:
    builders = Path(__file__).parent.glob("*/*_dataset_builder.py")
    parser = argparse.ArgumentParser(prog="python -m data.build", description=__doc__)
    parser.add_argument("name", choices=sorted(path.parent.name for path in builders))
    parser.add_argument("--config", help="builder config; the data set's first by default")
    parser.add_argument("--data_dir", help="where to write; TFDS's own folder by default")
    options = parser.parse_args()

    module = importlib.import_module(f"data.{options.name}.{options.name}_dataset_builder")
    builder = module.Builder(config=options.config, data_dir=options.data_dir)
    builder.download_and_prepare()
    print(f"{builder.info.full_name} is in {builder.data_path}")


if __name__ == "__main__":
    main()
