"""Groups of a report's cards: the best and the worst examples, with frames of their videos."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vtmask.evaluation.report import Card, Group, Lines, Part, Strip

Prediction = Mapping[str, Any]
Videos = Callable[[str], Path | None]

SHOWN = 5  # best examples, and as many worst ones
RETRIEVED = 3  # candidates shown for a query, besides the right one


def best_and_worst(
    what: str,
    explanation: str,
    predictions: Sequence[Prediction],
    order: Callable[[Prediction], Any],
    card: Callable[[Prediction], Card],
) -> list[Group]:
    """Groups the best and the worst predictions, none twice; leaves out empty groups."""
    ordered = sorted(predictions, key=order, reverse=True)
    best, worst = ordered[:SHOWN], ordered[SHOWN:][: -SHOWN - 1 : -1]
    cards = [card(prediction) for prediction in best]
    if not any(map(_has_frames, cards)):
        explanation += " No frames are shown, as the data set has no video files."
    groups = [
        Group(f"Best {what}", explanation, cards),
        Group(
            f"Worst {what}",
            "The other end of the same order, worst first.",
            [card(prediction) for prediction in worst],
        ),
    ]
    return [group for group in groups if group.cards]


def _has_frames(card: Card) -> bool:
    lines = [line for part in card.parts if isinstance(part, Lines) for line in part.items]
    return any(isinstance(part, Strip) for part in card.parts) or any(line.strip for line in lines)


def strip_of(
    video: Path | None, start: float | None = None, end: float | None = None
) -> Strip | None:
    return Strip(video, start, end) if video else None


def strips(video: Path | None, start: float | None = None, end: float | None = None) -> list[Part]:
    strip = strip_of(video, start, end)
    return [strip] if strip else []


def time_range(start: float, end: float) -> str:
    return f"{round(start, 1):g}–{round(end, 1):g} s"
