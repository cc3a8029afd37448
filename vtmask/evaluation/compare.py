"""Prints evaluations side by side: `python -m vtmask.evaluation.compare RUN/test/metrics.json …`.

A run is named after its folder, two above the file.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vtmask.evaluation.report import number


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Named rows of figures as aligned text; the last row has all columns."""
    names = list(list(rows.values())[-1])
    widths = [max(8, len(name) + 2) for name in names]
    first = max(map(len, rows)) + 2

    def line(title: str, cells: Sequence[str]) -> str:
        return f"{title:<{first}}" + "".join(
            f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)
        )

    lines = [line("", names)]
    for row, values in rows.items():
        cells = [number(name, values[name]) if name in values else "" for name in names]
        lines.append(line(row, cells))
    return "\n".join(lines)


def main(paths: Sequence[str]) -> None:
    runs = {Path(path).parents[1].name: json.loads(Path(path).read_text()) for path in paths}
    first = next(iter(runs.values()))
    for row in first["metrics"]:
        found = {name: run["metrics"][row] for name, run in runs.items()}
        print(f"\n{row}, {first['videos']} videos of {first['data set']} {first['split']}")
        print(table(first["baselines"] | found))
    print("\nReports: " + "  ".join(str(Path(path).with_name("report.html")) for path in paths))


if __name__ == "__main__":
    main(sys.argv[1:])
