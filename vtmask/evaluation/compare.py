"""Prints evaluations side by side: `python -m vtmask.evaluation.compare RUN/test/metrics.json …`.

A run is named after its folder, two above the file.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vtmask.evaluation.metrics import chance


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Named rows of `metrics.retrieval` as aligned text; recalls in percent."""
    names = list(next(iter(rows.values())))
    width = max(map(len, rows)) + 2
    lines = [" " * width + "".join(f"{name:>8}" for name in names)]
    for row, values in rows.items():
        cells = (
            f"{value:8.1%}" if name.startswith("R@") else f"{value:8.1f}"
            for name, value in values.items()
        )
        lines.append(f"{row:<{width}}" + "".join(cells))
    return "\n".join(lines)


def main(paths: Sequence[str]) -> None:
    runs = {Path(path).parents[1].name: json.loads(Path(path).read_text()) for path in paths}
    first = next(iter(runs.values()))
    for direction in first["metrics"]:
        found = {name: run["metrics"][direction] for name, run in runs.items()}
        print(f"\n{direction}, {first['videos']} videos of {first['data set']} {first['split']}")
        print(table({"chance": chance(first["videos"])} | found))
    print("\nReports: " + "  ".join(str(Path(path).with_name("report.html")) for path in paths))


if __name__ == "__main__":
    main(sys.argv[1:])
