"""Plots of evaluations, with captions, as `report.Figure`s."""

from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter, PercentFormatter

from vtmask import pages
from vtmask.evaluation.report import Figure

# Limits of what a plot shows:
_CELLS = 256  # rows and columns of a heat map
_DEPTHS = 400  # points of a recall curve
_CLASSES = 30  # of a confusion matrix
_COUNTED = 12  # classes of a confusion matrix with counts in its cells
_BARS = 40  # of a bar chart
_NAME = 28  # characters of a name on an axis


def evenly_spaced(count: int) -> np.ndarray:
    """Returns the indices of the pairs that a heat map shows, all if they fit: int [up to 256]."""
    return np.linspace(0, count - 1, min(count, _CELLS)).round().astype(int)


def heat_map(scores: np.ndarray, total: int | None = None) -> Figure:
    """Plots the scores of texts against videos.

    Args:
      scores: [N, N], higher is more similar; text i describes video i.
      total: number of all pairs, if those of `scores` are evenly spaced among them.
    """
    size = total or len(scores)
    shown = evenly_spaced(len(scores))
    figure, axes = new_axes(xlabel="video", ylabel="text")
    image = axes.imshow(
        scores[np.ix_(shown, shown)],
        interpolation="none",
        extent=(0.5, size + 0.5, size + 0.5, 0.5),
    )
    # Two strokes outside the corners mark the diagonal, even if the scores don't show it.
    for begin, end in ((-0.05, 0), (1, 1.05)):
        axes.plot(
            (begin, end),
            (1 - begin, 1 - end),
            color=pages.INK,
            transform=axes.transAxes,
            clip_on=False,
        )
    axes.locator_params(integer=True)
    axes.xaxis.tick_top()  # out of the way of the lower stroke
    axes.xaxis.set_label_position("top")
    figure.colorbar(image, label="score", shrink=0.85)
    means = (
        f"The mean score is {np.diagonal(scores).mean():.3g} for right pairs and "
        f"{scores.mean():.3g} for all pairs."
    )
    some = f" The map shows {len(shown)} of the {size} texts and their videos, evenly spaced."
    return Figure(
        pages.plot(figure),
        alt=f"Heat map of the scores of {size} texts against as many videos. {means}",
        caption="Each row is a text, each column a video; brighter is more similar. The right "
        "video of each text is on the diagonal from top left to bottom right (strokes at the "
        "corners). A bright diagonal on a dark background is good retrieval; a bright column is a "
        f"video that is retrieved for everything. {means}{some if size > len(shown) else ''}",
    )


def recall_curve(ranks: Mapping[str, np.ndarray], candidates: int) -> Figure:
    """Plots recall at every K: the fraction of queries with the right candidate in the first K.

    Args:
      ranks: by direction, of which there are one or two: the rank of each query's right candidate,
        [queries]; 1 is best.
      candidates: number of candidates.
    """
    depths = np.unique(np.geomspace(1, candidates, _DEPTHS).round())
    figure, axes = new_axes(xscale="log", xlabel="K", ylabel="right answer among the first K")
    for (direction, rank), colour in zip(ranks.items(), pages.COLOURS, strict=False):
        recall = np.searchsorted(np.sort(rank), depths, side="right") / len(rank)
        axes.step(depths, recall, colour, where="post", label=direction)
    axes.plot(depths, depths / candidates, color=pages.INK, linestyle=":", label="chance")
    axes.set_xlim(1, max(candidates, 2))
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(LogFormatter())
    axes.xaxis.set_minor_formatter(LogFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    add_grid(axes)
    axes.legend(frameon=False, labelcolor=pages.INK)
    medians = ", ".join(f"{np.median(rank):g} {name}" for name, rank in ranks.items())
    return Figure(
        pages.plot(figure),
        alt="Share of queries with the right answer among the first K, and the same by chance. The "
        f"median rank is {medians}.",
        caption="The share of queries with their right answer among the first K, for every K up to "
        f"{candidates}. The farther a curve is above the dotted line of chance, the better; its "
        "height at K = 1 is R@1.",
    )


def confusion_matrix(
    counts: np.ndarray, names: Sequence[str], predicted: str = "predicted"
) -> Figure:
    """Plots how often each true class was predicted as each class, for the most frequent classes.

    Args:
      counts: int [C, C], by true and predicted class.
      names: of the C classes.
      predicted: label of the axis of predicted classes.
    """
    totals = counts.sum(axis=1)
    classes = np.sort(np.argsort(-totals, kind="stable")[:_CLASSES]).tolist()
    shares = counts / np.maximum(totals, 1)[:, None]
    size = 3 + 0.13 * max(len(classes), 16)
    figure, axes = new_axes(size=(size + 0.6, size), xlabel=predicted, ylabel="true")
    cells = shares[np.ix_(classes, classes)]
    image = axes.imshow(cells, vmin=0, vmax=1, interpolation="none")
    labels = [_short(names[i]) for i in classes]
    places, fontsize = range(len(classes)), 9 if len(classes) <= _COUNTED else 7
    axes.set_xticks(places, labels, rotation=90, fontsize=fontsize)
    axes.set_yticks(places, labels, fontsize=fontsize)
    if len(classes) <= _COUNTED:
        for (y, x), share in np.ndenumerate(cells):
            colour = "black" if share > 0.6 else "white"
            count = counts[classes[y], classes[x]]
            axes.text(
                x, y, f"{count:,}" if count else "", color=colour, size=7, ha="center", va="center"
            )
    colours = figure.colorbar(image, label="share of the true class", shrink=0.7)
    colours.ax.yaxis.set_major_formatter(PercentFormatter(1))
    right = f"{100 * np.trace(counts) / max(counts.sum(), 1):.1f} % are correct"
    return Figure(
        pages.plot(figure),
        alt=f"Confusion matrix of {len(classes)} classes. {right}; {_confused(counts, names)}.",
        caption="Each row is a true class, each column a predicted class; a cell is brighter the "
        "larger its share of the row. A bright diagonal is good; a bright column is a class that "
        f"is predicted for everything. Over all classes {right}; {_confused(counts, names)}."
        + (
            f" The matrix shows the {_CLASSES} most frequent of {len(names)} classes; shares are "
            "of all classes."
            if len(names) > _CLASSES
            else ""
        ),
    )


def _confused(counts: np.ndarray, names: Sequence[str]) -> str:
    """Describes the most frequent confusion of two classes."""
    wrong = counts - np.diag(np.diagonal(counts))
    true, predicted = divmod(int(wrong.argmax()), len(names))
    if not wrong[true, predicted]:
        return "no class was predicted as another"
    return (
        f"the most frequent confusion, {wrong[true, predicted]:,} times, is “{names[true]}” "
        f"predicted as “{names[predicted]}”"
    )


def bars(
    values: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    measure: str = "recall",
) -> Figure:
    """Plots horizontal bars of fractions, highest first; if there are many, only both ends.

    Args:
      values: by name, one or more, from 0 to 1.
      intervals: (low, high) of some of them, or of none.
      measure: label of the axis.
    """
    ordered = sorted(values, key=lambda name: -values[name])
    half = _BARS // 2
    shown = ordered if len(ordered) <= _BARS else [*ordered[:half], *ordered[-half:]]
    figure, axes = new_axes(size=(5, max(2, 1 + 0.19 * len(shown))), xlabel=measure)
    places = np.arange(len(shown))
    axes.barh(places, [values[name] for name in shown], color=pages.COLOURS[0], height=0.7)
    for place, name in enumerate(shown):
        if name in intervals:
            axes.plot(intervals[name], (place, place), color=pages.INK, linewidth=1.2)
    axes.set_yticks(places, [_short(name) for name in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="x", color=pages.INK, alpha=0.15)
    axes.set_axisbelow(True)
    ends = (
        f"It is highest for “{ordered[0]}” ({100 * values[ordered[0]]:.1f} %) and lowest for "
        f"“{ordered[-1]}” ({100 * values[ordered[-1]]:.1f} %)."
    )
    some = f" The plot shows the {half} highest and the {half} lowest of {len(ordered)}."
    lines = " A line through the end of a bar is its 95 % bootstrap interval."
    return Figure(
        pages.plot(figure),
        alt=f"Bars of the {measure}. {ends}",
        caption=f"The {measure}, highest first. {ends}"
        + (lines if intervals else "")
        + (some if len(ordered) > _BARS else ""),
    )


def new_axes(
    size: tuple[float, float] = (5, 4.3), **labels: str
) -> tuple[matplotlib.figure.Figure, Axes]:
    """Makes a figure with one plot; sizes are in inches."""
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot(**labels)


def add_grid(axes: Axes) -> None:
    """Draws faint lines at the ticks."""
    axes.grid(color=pages.INK, alpha=0.15)


def _short(name: str) -> str:
    """Shortens a name for an axis; escapes "$", which matplotlib would read as mathematics."""
    cut = name if len(name) <= _NAME else name[: _NAME - 1] + "…"
    return cut.replace("$", r"\$")
