"""Plots of what training recorded in `metrics.jsonl`, with captions, as `report.Figure`s."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vtmask import pages
from vtmask.evaluation import figures
from vtmask.evaluation.report import Figure

Curve = Sequence[tuple[float, float]]  # (step, value), by step

VALIDATION = "validation/"  # prefix of what validation records
NOT_MEASURES = (VALIDATION + "seconds", VALIDATION + "alignment/chance")
_LOSS = VALIDATION + "loss"


def training_curves(lines: Sequence[Mapping[str, float]]) -> Figure:
    """Plots loss and learning rate by step, and the validation loss if there is one.

    Args:
      lines: of a run's `metrics.jsonl`. Each has "step". Training lines, of which there is at least
        one, have "loss" and "learning_rate". Validation lines may have "validation/loss".
    """
    training = [line for line in lines if "loss" in line]
    validation = [line for line in lines if _LOSS in line]
    figure = matplotlib.figure.Figure(figsize=(5, 4.3), layout="constrained")
    loss, rate = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    steps = [line["step"] for line in training]
    for axes, name, colour in zip(
        (loss, rate), ("loss", "learning_rate"), pages.COLOURS, strict=True
    ):
        _curve(axes, steps, [line[name] for line in training], colour, label="training")
        axes.set_ylabel(name.replace("_", " "))
        figures.add_grid(axes)
    if validation:
        places = [line["step"] for line in validation]
        values = [line[_LOSS] for line in validation]
        _curve(loss, places, values, pages.INK, label="validation", linestyle="--")
        loss.legend(frameon=False, labelcolor=pages.INK)
    rate.set_xlabel("step")
    rate.set_ylim(0)
    rate.ticklabel_format(axis="y", scilimits=(0, 0))
    rate.yaxis.get_offset_text().set_color(pages.INK)
    rate.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    first, last = training[0], training[-1]
    if len(training) == 1:
        course = f"The loss is {last['loss']:.3g} up to step {last['step']:,}."
    else:
        least = min(training, key=lambda line: line["loss"])
        course = (
            f"The loss goes from {first['loss']:.3g} at step {first['step']:,} to "
            f"{last['loss']:.3g} at step {last['step']:,}; at step {least['step']:,} it was "
            f"lowest, {least['loss']:.3g}."
        )
    if validation:
        least = min(validation, key=lambda line: line[_LOSS])
        course += (
            f" The validation loss was lowest at step {least['step']:,}, "
            f"{least[_LOSS]:.3g}; if it rises while the training loss falls, the model "
            "overfits."
        )
    return Figure(
        pages.plot(figure),
        alt=f"Training loss and learning rate by step. {course}",
        caption=f"The loss in training (above; each point is the mean since the one before) and "
        f"the learning rate. {course} The training loss should fall and then flatten; a jump that "
        "stays means that the learning rate is too high.",
    )


def validation_curves(lines: Sequence[Mapping[str, float]]) -> Figure | None:
    """Plots the fractions that validation records, such as R@1, by step.

    Args:
      lines: of a run's `metrics.jsonl`, with names such as "validation/text_to_video/R@1".

    Returns:
      None if validation recorded no fraction; other values have scales of their own.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for name, value in line.items():
            if name.startswith(VALIDATION) and name not in (_LOSS, *NOT_MEASURES):
                curves.setdefault(name, []).append((line["step"], value))
    curves = {
        name: curve for name, curve in curves.items() if all(0 <= value <= 1 for _, value in curve)
    }
    if not curves:
        return None
    figure, axes = figures.new_axes(xlabel="step")
    for i, (name, curve) in enumerate(curves.items()):
        steps, values = zip(*curve, strict=True)
        _curve(axes, steps, values, pages.colour(i), label=_measure(name))
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.legend(frameon=False, labelcolor=pages.INK)
    figures.add_grid(axes)
    best = {name: max(curve, key=lambda point: point[1]) for name, curve in curves.items()}
    highest = "; ".join(
        f"{_measure(name)} {100 * value:.1f} % at step {step:,}"
        for name, (step, value) in best.items()
    )
    return Figure(
        pages.plot(figure),
        alt=f"Validation by step. Highest: {highest}.",
        caption=f"Validation figures during training. Highest: {highest}.",
    )


def _measure(name: str) -> str:
    """Turns the name of a curve, such as "validation/text_to_video/R@1", into words."""
    return name.removeprefix(VALIDATION).replace("_", " ").replace("/", ", ")


def compared_curves(
    measure: str,
    training: Mapping[str, Curve],
    validation: Mapping[str, Curve],
    colours: Mapping[str, str],
) -> Figure:
    """Plots the curves of several runs for the same measure.

    Args:
      measure: label of the axis, such as "loss".
      training, validation: by run, at least one; a run without the curve is missing or has an empty
        one.
      colours: by run.
    """
    label = _measure(measure)
    kinds = {"training": training, "validation": validation}
    shown = {kind: {k: c for k, c in runs.items() if c} for kind, runs in kinds.items()}
    shown = {kind: runs for kind, runs in shown.items() if runs}
    figure, axes = figures.new_axes(xlabel="step", ylabel=label)
    for kind, runs in shown.items():
        for run, curve in runs.items():
            faint = kind == "training" and run in shown.get("validation", {})
            steps, values = zip(*curve, strict=True)
            _curve(axes, steps, values, colours[run], alpha=0.45 if faint else 1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figures.add_grid(axes)
    last = {run: curve[-1] for run, curve in list(shown.values())[-1].items()}
    ends = "; ".join(f"{run} {value:.3g} (step {step:,.0f})" for run, (step, value) in last.items())
    of = " and ".join(shown)
    both = " If a run has both, training is drawn faint." if len(shown) > 1 else ""
    return Figure(
        pages.plot(figure),
        alt=f"{label} in {of} by step. Last in {list(shown)[-1]}: {ends}.",
        caption=f"{label[:1].upper()}{label[1:]} in {of}, in the colours of the runs.{both}",
    )


def _curve(
    axes: Axes, steps: Sequence[float], values: Sequence[float], colour: str, **style: Any
) -> None:
    """Draws a line, with a dot if it has a single point."""
    axes.plot(steps, values, color=colour, marker="o" if len(steps) == 1 else "", **style)
