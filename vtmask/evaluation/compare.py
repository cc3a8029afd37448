"""Compares runs on a page: the differences in their configs, their curves, their evaluations."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vtmask import disk, pages
from vtmask.evaluation import curves as plots
from vtmask.evaluation import runs
from vtmask.evaluation.report import Figure, interval, number
from vtmask.evaluation.runs import Comparison, Run


def compare(folders: Sequence[disk.AnyPath], out: disk.AnyPath) -> None:
    """Prints evaluations side by side and writes the page `out`.

    Args:
      folders: workdirs of train.py or folders that evaluate.py wrote, one or more.

    Raises:
      UserError: a folder holds no run, or a damaged one.
    """
    paths = list(dict.fromkeys(map(disk.resolve, folders)))
    compared = dict(zip(runs.names(paths), map(runs.read, paths), strict=True))
    comparisons = runs.comparisons(compared)
    for comparison in comparisons:
        print(f"\n{comparison.title}")
        print(table(comparison))
    path = disk.resolve(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(compared, comparisons, path.parent))
    print(f"\nPage: {out}")


def table(comparison: Comparison) -> str:
    """Formats baselines and runs as aligned text."""
    rows = {**comparison.baselines, **{row.label: row.figures for row in comparison.rows}}
    columns = comparison.columns
    widths = [max(8, len(column) + 2) for column in columns]
    first = max(map(len, rows)) + 2

    def line(title: str, cells: Sequence[str]) -> str:
        return f"{title:<{first}}" + "".join(
            f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)
        )

    lines = [line("", columns)]
    for row, values in rows.items():
        cells = [number(column, values[column]) if column in values else "" for column in columns]
        lines.append(line(row, cells))
    return "\n".join(lines)


def page(compared: Mapping[str, Run], comparisons: Sequence[Comparison], folder: Path) -> str:
    """Renders the page as HTML; its links to reports are relative to `folder`, its location."""
    colours = {name: pages.colour(i) for i, name in enumerate(compared)}
    steps = [f"{int(run.lines[-1]['step']):,}" if run.lines else "–" for run in compared.values()]
    return pages.render(
        "evaluation/compare.html.j2",
        title=f"Comparison of {len(compared)} runs" if len(compared) > 1 else "One run",
        runs=compared,
        colours=colours,
        facts=runs.config_differences([run.config for run in compared.values()])
        | {"steps trained": steps},
        without_config=[name for name, run in compared.items() if not run.config],
        comparisons=comparisons,
        curves=curves(compared, colours),
        link=lambda path: path if disk.in_bucket(path) else os.path.relpath(path, folder),
        number=number,
        interval=interval,
    )


def curves(compared: Mapping[str, Run], colours: Mapping[str, str]) -> list[Figure]:
    """Plots the loss, then each measure of validation, with the curves of all runs in one plot.

    If training records a measure under the same name, its training curve is drawn, too.
    """
    names = dict.fromkeys(name for run in compared.values() for line in run.lines for name in line)
    validated = [
        name.removeprefix(plots.VALIDATION)
        for name in names
        if name.startswith(plots.VALIDATION) and name not in plots.NOT_MEASURES
    ]
    return [
        plots.compared_curves(
            measure,
            {name: run.curve(measure) for name, run in compared.items()},
            {name: run.curve(plots.VALIDATION + measure) for name, run in compared.items()},
            colours,
        )
        for measure in dict.fromkeys(["loss", *validated])
        if measure in names or measure in validated
    ]
