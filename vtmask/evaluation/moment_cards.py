"""Best and worst examples of moment retrieval, as cards of a report.

`vtmask.evaluation.cards` defines predictions and `videos`.
"""

from collections.abc import Sequence
from math import inf

from vtmask.evaluation.card_groups import (
    RETRIEVED,
    Prediction,
    Videos,
    best_and_worst,
    strip_of,
    strips,
    time_range,
)
from vtmask.evaluation.report import Card, Group, Line, Lines, Span, Timeline

_SEGMENT = 5  # seconds of a segment of DiDeMo's moments


def moments(predictions: Sequence[Prediction], videos: Videos) -> list[Group]:
    """Makes cards of sentences with the ranked moments of their video.

    Args:
      predictions: "video_id", "text"; "ranked", moments, best first, and "times", each annotator's
        moment, all as first and last segment; "num_segments"; "rank" and "IoU".
    """

    def card(prediction: Prediction) -> Card:
        video = videos(prediction["video_id"])
        ranked = [tuple(moment) for moment in prediction["ranked"]]
        times = [tuple(time) for time in prediction["times"]]
        shown = ranked[:RETRIEVED] + [m for m in ranked[RETRIEVED:] if m in times]
        rows = {"predicted": ranked[:1], "annotators": times}
        spans = {row: [Span(*_place(m), "moment") for m in placed] for row, placed in rows.items()}
        lines = [
            Line(
                f"{time_range(*_place(moment))}, chosen by {times.count(moment)} of {len(times)} "
                "annotators",
                mark="right" if moment in times else "",
                strip=strip_of(video, *_place(moment)),
                note=f"#{ranked.index(moment) + 1}",
            )
            for moment in shown
        ]
        return Card(
            prediction["text"],
            f"{prediction['video_id']}: rank {prediction['rank']:g}, IoU {prediction['IoU']:.2f}",
            [Timeline(prediction["num_segments"] * _SEGMENT, spans), Lines(lines)],
        )

    return best_and_worst(
        "sentences",
        "Ordered by rank, then by IoU. Each card shows the moments that rank highest and those "
        "that annotators chose.",
        predictions,
        lambda prediction: (-prediction["rank"], prediction["IoU"]),
        card,
    )


def moment_windows(predictions: Sequence[Prediction], videos: Videos) -> list[Group]:
    """Makes cards of sentences with their best window and the annotated ones.

    Args:
      predictions: "video_id", "text", "IoU", "AP"; "seconds" of the video; in seconds, too,
        "pred_relevant_windows" (start, end and score, best first) and "relevant_windows".
    """

    def card(prediction: Prediction) -> Card:
        first = prediction["pred_relevant_windows"][0][:2]
        rows = {"predicted": [first], "annotated": prediction["relevant_windows"]}
        spans = {
            row: [Span(start, end, "moment") for start, end in windows]
            for row, windows in rows.items()
        }
        frames = strips(videos(prediction["video_id"]), *first)
        return Card(
            prediction["text"],
            f"{prediction['video_id']}: IoU {prediction['IoU']:.2f}, AP {prediction['AP']:.2f}",
            [Timeline(prediction["seconds"], spans), *frames],
        )

    explanation = "Ordered by the IoU of the first window, then by AP."
    return best_and_worst(
        "sentences", explanation, predictions, lambda p: (p["IoU"], p["AP"]), card
    )


def corpus_moments(predictions: Sequence[Prediction], videos: Videos) -> list[Group]:
    """Makes cards of texts with the moments that were retrieved for them from all videos.

    Args:
      predictions: "text"; "right" and "retrieved", moments, each with "video_id" and "time",
        [start, end] in seconds, those retrieved with "score", best first; "ranks" of the first
        right moment by IoU, the lowest IoU first, None if there is no right moment.
    """

    def rank(prediction: Prediction) -> float:
        """Returns the rank at the lowest IoU."""
        best = next(iter(prediction["ranks"].values()))
        return inf if best is None else best

    def card(prediction: Prediction) -> Card:
        right = prediction["right"]
        lines = [
            Line(
                f"{moment['video_id']}, {time_range(*moment['time'])}",
                moment["score"],
                "right" if place == rank(prediction) else "",
                strip_of(videos(moment["video_id"]), *moment["time"]),
                f"#{place}",
            )
            for place, moment in enumerate(prediction["retrieved"], 1)
            if place <= RETRIEVED or place == rank(prediction)
        ]
        lines += [
            Line(
                f"{moment['video_id']}, {time_range(*moment['time'])}",
                strip=strip_of(videos(moment["video_id"]), *moment["time"]),
                note="annotated",
            )
            for moment in right[:RETRIEVED]
        ]
        ranks = (
            f"{iou}: {'none' if best is None else f'rank {best:g}'}"
            for iou, best in prediction["ranks"].items()
        )
        return Card(prediction["text"], ", ".join(ranks), [Lines(lines)])

    return best_and_worst(
        "texts",
        "Ordered by the rank of the first right moment at the lowest IoU. Each card shows the "
        "moments that rank highest, the first right one, and the annotated ones.",
        predictions,
        lambda prediction: -rank(prediction),
        card,
    )


def _place(moment: Sequence[int]) -> tuple[float, float]:
    """Converts a moment to its start and end in seconds."""
    first, last = moment
    return first * _SEGMENT, (last + 1) * _SEGMENT
