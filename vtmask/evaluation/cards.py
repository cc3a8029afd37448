"""Best and worst examples of an evaluation, as cards of a report.

A prediction is the JSON object that `evaluate.py` saves of an example; each function lists the
fields that it reads. `videos` returns a video's file by its id, or None if there is none.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from math import inf
from pathlib import Path
from typing import Any

from vtmask.evaluation.report import Card, Group, Line, Lines, Part, Span, Strip, Timeline

Prediction = Mapping[str, Any]
Videos = Callable[[str], Path | None]

_SHOWN = 5  # best examples, and as many worst ones
_RETRIEVED = 3  # candidates shown for a query, besides the right one
_SEGMENT = 5  # seconds of a segment of DiDeMo's moments


def retrieval(
    predictions: Sequence[Prediction],
    videos: Videos,
    texts: Mapping[str, str],
    candidates: int,
    places: Mapping[str, tuple[float, float]] | None = None,
) -> list[Group]:
    """Queries of text-to-video retrieval, without those of the other direction.

    Args:
      predictions: "direction"; "query", a text; "right", the id of its video, with its "rank" and
        "score"; "retrieved", the first videos, each with "id" and "score".
      texts: descriptions of some or all candidates, by id.
      candidates: number of candidates.
      places: start and end in seconds of the candidates that are parts of videos, by id.
    """

    def order(prediction: Prediction) -> tuple[float, float]:
        wrong = (c["score"] for c in prediction["retrieved"] if c["id"] != prediction["right"])
        return -prediction["rank"], prediction["score"] - next(wrong, 0.0)

    def card(prediction: Prediction) -> Card:
        right = prediction["right"]
        shown = [
            (rank, candidate["id"], candidate["score"])
            for rank, candidate in enumerate(prediction["retrieved"][:_RETRIEVED], 1)
        ]
        if right not in [video_id for _, video_id, _ in shown]:
            shown.append((prediction["rank"], right, prediction["score"]))
        lines = [
            Line(
                texts.get(video_id, ""),
                score,
                "right" if video_id == right else "",
                _strip(videos(video_id), *(places or {}).get(video_id, ())),
                f"#{rank:g} · {video_id}",
            )
            for rank, video_id, score in shown
        ]
        note = f"The right video ranks {prediction['rank']:g} of {candidates}"
        return Card(prediction["query"], note, [Lines(lines)])

    text_to_video = [p for p in predictions if p["direction"] == "text to video"]
    return _groups(
        "text queries",
        "Ordered by the rank of the right video, then by the margin of its score over the best "
        "wrong video.",
        text_to_video,
        order,
        card,
    )


def question_answering(predictions: Sequence[Prediction], videos: Videos) -> list[Group]:
    """Videos with their right and wrong descriptions.

    Args:
      predictions: "video_id"; "answers", texts, with their "scores"; "correct" and "predicted",
        indices of answers.
    """

    def margin(prediction: Prediction) -> float:
        scores, correct = prediction["scores"], prediction["correct"]
        wrong = [score for i, score in enumerate(scores) if i != correct]
        return scores[correct] - max(wrong, default=0.0)

    def card(prediction: Prediction) -> Card:
        correct, predicted = prediction["correct"], prediction["predicted"]
        lines = [
            Line(
                answer,
                score,
                "right" if i == correct else "wrong" if i == predicted else "",
                note="chosen" if i == predicted else "",
            )
            for i, (answer, score) in enumerate(
                zip(prediction["answers"], prediction["scores"], strict=True)
            )
        ]
        note = "Answered correctly" if correct == predicted else "Answered incorrectly"
        video_id = prediction["video_id"]
        return Card(video_id, note, [*_strips(videos(video_id)), Lines(lines)])

    return _groups(
        "questions",
        "Ordered by the margin of the right answer's score over the best wrong answer.",
        predictions,
        margin,
        card,
    )


def captions(predictions: Sequence[Prediction], videos: Videos) -> list[Group]:
    """Generated captions with references, which people wrote.

    Args:
      predictions: "video_id", "start" and "end" [seconds], "caption", "references", "CIDEr".
    """

    def card(prediction: Prediction) -> Card:
        start, end = prediction["start"], prediction["end"]
        lines = [
            Line(prediction["caption"], mark="chosen", note="generated"),
            *(Line(reference, note="reference") for reference in prediction["references"]),
        ]
        return Card(
            f"{prediction['video_id']}, {_seconds(start, end)}",
            f"CIDEr {prediction['CIDEr']:.2f}",
            [*_strips(videos(prediction["video_id"]), start, end), Lines(lines)],
        )

    return _groups(
        "captions", "Ordered by CIDEr.", predictions, lambda prediction: prediction["CIDEr"], card
    )


def steps(predictions: Sequence[Prediction], videos: Videos) -> list[Group]:
    """Videos with the second that each step of their task is assigned.

    Args:
      predictions: "video_id", "task", "seconds"; "steps", texts in order; "predicted", the second
        of each step, -1 for none; "true", for each step the [start, end] in seconds of all times
        that it is done; "recall", None if no step is done, in which case the video is left out.
    """

    def card(prediction: Prediction) -> Card:
        done: list[Span] = []
        assigned: list[Span] = []
        lines = []
        for step, second, times in zip(
            prediction["steps"], prediction["predicted"], prediction["true"], strict=True
        ):
            done += [Span(start, end, step) for start, end in times]
            if second >= 0:
                assigned.append(Span(second, second + 1, step))
            when = ", ".join(_seconds(*time) for time in times)
            right = second >= 0 and any(s < second + 1 and second < e for s, e in times)
            lines.append(
                Line(
                    f"{step}: {when or 'not done'}",
                    mark="" if not times else "right" if right else "wrong",
                    note=f"{second:g} s" if second >= 0 else "not found",
                )
            )
        counts = Counter(line.mark for line in lines)
        return Card(
            prediction["task"],
            f"{prediction['video_id']}: {counts['right']} of "
            f"{counts['right'] + counts['wrong']} steps found",
            [
                *_strips(videos(prediction["video_id"])),
                Timeline(prediction["seconds"], {"true": done, "predicted": assigned}),
                Lines(lines),
            ],
        )

    return _groups(
        "videos",
        "Ordered by recall, the share of steps whose predicted second lies in a time at which the "
        "step is done. Each step's line shows its predicted second, then these times.",
        [prediction for prediction in predictions if prediction["recall"] is not None],
        lambda prediction: prediction["recall"],
        card,
    )


def segments(
    predictions: Sequence[Prediction],
    shown: Sequence[str],
    class_names: Sequence[str],
    videos: Videos,
) -> list[Group]:
    """Videos with the class of each feature.

    Args:
      predictions: "video_id"; "true" and each of `shown`, class indices of the features;
        "seconds_per_feature"; "accuracy" of the last of `shown`.
      shown: names of predicted classes, such as "predicted".
      class_names: of all classes; the first is background.
    """

    def spans(classes: Sequence[int], length: float) -> Iterator[Span]:
        start = 0
        for number, run in groupby(classes):
            end = start + len(list(run))
            yield Span(start * length, end * length, class_names[number], faint=number == 0)
            start = end

    def card(prediction: Prediction) -> Card:
        length = prediction["seconds_per_feature"]
        rows = {
            key.replace("_", " "): list(spans(prediction[key], length)) for key in ("true", *shown)
        }
        return Card(
            prediction["video_id"],
            f"{100 * prediction['accuracy']:.1f} % of frames correct",
            [
                *_strips(videos(prediction["video_id"])),
                Timeline(len(prediction["true"]) * length, rows),
            ],
        )

    return _groups(
        "videos",
        "Ordered by the share of frames with the right class.",
        predictions,
        lambda prediction: prediction["accuracy"],
        card,
    )


def moments(predictions: Sequence[Prediction], videos: Videos) -> list[Group]:
    """Sentences with the ranked moments of their video.

    Args:
      predictions: "video_id", "text"; "ranked", moments, best first, and "times", each annotator's
        moment, all as first and last segment; "num_segments"; "rank" and "IoU".
    """

    def card(prediction: Prediction) -> Card:
        video = videos(prediction["video_id"])
        ranked = [tuple(moment) for moment in prediction["ranked"]]
        times = [tuple(time) for time in prediction["times"]]
        shown = ranked[:_RETRIEVED] + [m for m in ranked[_RETRIEVED:] if m in times]
        rows = {"predicted": ranked[:1], "annotators": times}
        spans = {row: [Span(*_place(m), "moment") for m in placed] for row, placed in rows.items()}
        lines = [
            Line(
                f"{_seconds(*_place(moment))}, chosen by {times.count(moment)} of {len(times)} "
                "annotators",
                mark="right" if moment in times else "",
                strip=_strip(video, *_place(moment)),
                note=f"#{ranked.index(moment) + 1}",
            )
            for moment in shown
        ]
        return Card(
            prediction["text"],
            f"{prediction['video_id']}: rank {prediction['rank']:g}, IoU {prediction['IoU']:.2f}",
            [Timeline(prediction["num_segments"] * _SEGMENT, spans), Lines(lines)],
        )

    return _groups(
        "sentences",
        "Ordered by rank, then by IoU. Each card shows the moments that rank highest and those "
        "that annotators chose.",
        predictions,
        lambda prediction: (-prediction["rank"], prediction["IoU"]),
        card,
    )


def moment_windows(predictions: Sequence[Prediction], videos: Videos) -> list[Group]:
    """Sentences with the window that was found for each, and the annotated ones.

    Args:
      predictions: "video_id", "text", "IoU", "AP"; "seconds" of the video; in seconds, too,
        "pred_relevant_windows" (start, end and score, from the best) and "relevant_windows".
    """

    def card(prediction: Prediction) -> Card:
        first = prediction["pred_relevant_windows"][0][:2]
        rows = {"predicted": [first], "annotated": prediction["relevant_windows"]}
        spans = {
            row: [Span(start, end, "moment") for start, end in windows]
            for row, windows in rows.items()
        }
        strips = _strips(videos(prediction["video_id"]), *first)
        return Card(
            prediction["text"],
            f"{prediction['video_id']}: IoU {prediction['IoU']:.2f}, AP {prediction['AP']:.2f}",
            [Timeline(prediction["seconds"], spans), *strips],
        )

    explanation = "Ordered by the IoU of the first window, then by AP."
    return _groups("sentences", explanation, predictions, lambda p: (p["IoU"], p["AP"]), card)


def corpus_moments(predictions: Sequence[Prediction], videos: Videos) -> list[Group]:
    """Texts with the moments of all videos that were found for them.

    Args:
      predictions: "text"; "right" and "retrieved", moments, the best first, each with "video_id"
        and "time", [start, end] in seconds, those retrieved with "score"; "ranks" of the first
        right moment by IoU, the loosest first, None where there is none.
    """

    def rank(prediction: Prediction) -> float:
        """At the loosest IoU."""
        found = next(iter(prediction["ranks"].values()))
        return inf if found is None else found

    def card(prediction: Prediction) -> Card:
        right = prediction["right"]
        lines = [
            Line(
                f"{moment['video_id']}, {_seconds(*moment['time'])}",
                moment["score"],
                "right" if place == rank(prediction) else "",
                _strip(videos(moment["video_id"]), *moment["time"]),
                f"#{place}",
            )
            for place, moment in enumerate(prediction["retrieved"], 1)
            if place <= _RETRIEVED or place == rank(prediction)
        ]
        lines += [
            Line(
                f"{moment['video_id']}, {_seconds(*moment['time'])}",
                strip=_strip(videos(moment["video_id"]), *moment["time"]),
                note="annotated",
            )
            for moment in right[:_RETRIEVED]
        ]
        ranks = (
            f"{iou}: {'none' if found is None else f'rank {found:g}'}"
            for iou, found in prediction["ranks"].items()
        )
        return Card(prediction["text"], ", ".join(ranks), [Lines(lines)])

    return _groups(
        "texts",
        "Ordered by the rank of the first right moment at the lowest IoU. Shown are the moments "
        "that rank highest, the first right one, and those that are annotated.",
        predictions,
        lambda prediction: -rank(prediction),
        card,
    )


def _place(moment: Sequence[int]) -> tuple[float, float]:
    """Start and end of a moment in seconds."""
    first, last = moment
    return first * _SEGMENT, (last + 1) * _SEGMENT


def _groups(
    what: str,
    explanation: str,
    predictions: Sequence[Prediction],
    order: Callable[[Prediction], Any],
    card: Callable[[Prediction], Card],
) -> list[Group]:
    """The best and the worst predictions, never the same one twice; empty groups are left out."""
    ordered = sorted(predictions, key=order, reverse=True)
    best, worst = ordered[:_SHOWN], ordered[_SHOWN:][: -_SHOWN - 1 : -1]
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


def _strip(
    video: Path | None, start: float | None = None, end: float | None = None
) -> Strip | None:
    return Strip(video, start, end) if video else None


def _strips(video: Path | None, start: float | None = None, end: float | None = None) -> list[Part]:
    strip = _strip(video, start, end)
    return [strip] if strip else []


def _seconds(start: float, end: float) -> str:
    return f"{round(start, 1):g}–{round(end, 1):g} s"
