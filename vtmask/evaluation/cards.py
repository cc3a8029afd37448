"""Best and worst examples of an evaluation, as cards of a report.

A prediction is the JSON object that `evaluate.py` saves for an example; each function lists the
fields that it reads. `videos` returns a video's file by its id, or None if there is none.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

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


def retrieval(
    predictions: Sequence[Prediction],
    videos: Videos,
    texts: Mapping[str, str],
    candidates: int,
    places: Mapping[str, tuple[float, float]] | None = None,
) -> list[Group]:
    """Makes cards of text-to-video queries; leaves out the other direction.

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
            for rank, candidate in enumerate(prediction["retrieved"][:RETRIEVED], 1)
        ]
        if right not in [video_id for _, video_id, _ in shown]:
            shown.append((prediction["rank"], right, prediction["score"]))
        lines = [
            Line(
                texts.get(video_id, ""),
                score,
                "right" if video_id == right else "",
                strip_of(videos(video_id), *(places or {}).get(video_id, ())),
                f"#{rank:g} · {video_id}",
            )
            for rank, video_id, score in shown
        ]
        note = f"The right video ranks {prediction['rank']:g} of {candidates}"
        return Card(prediction["query"], note, [Lines(lines)])

    text_to_video = [p for p in predictions if p["direction"] == "text to video"]
    return best_and_worst(
        "text queries",
        "Ordered by the rank of the right video, then by the margin of its score over the best "
        "wrong video.",
        text_to_video,
        order,
        card,
    )


def question_answering(predictions: Sequence[Prediction], videos: Videos) -> list[Group]:
    """Makes cards of videos with their right and wrong descriptions.

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
        return Card(video_id, note, [*strips(videos(video_id)), Lines(lines)])

    return best_and_worst(
        "questions",
        "Ordered by the margin of the right answer's score over the best wrong answer.",
        predictions,
        margin,
        card,
    )


def captions(predictions: Sequence[Prediction], videos: Videos) -> list[Group]:
    """Makes cards of generated captions with their human-written references.

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
            f"{prediction['video_id']}, {time_range(start, end)}",
            f"CIDEr {prediction['CIDEr']:.2f}",
            [*strips(videos(prediction["video_id"]), start, end), Lines(lines)],
        )

    return best_and_worst(
        "captions", "Ordered by CIDEr.", predictions, lambda prediction: prediction["CIDEr"], card
    )


def steps(predictions: Sequence[Prediction], videos: Videos) -> list[Group]:
    """Makes cards of videos with the second that each step of their task is assigned.

    Args:
      predictions: "video_id", "task", "seconds"; "steps", texts in order; "predicted", the second
        of each step, -1 for none; "true", for each step a list of [start, end] in seconds, one per
        occurrence; "recall", None if no step is done, in which case the video is left out.
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
            when = ", ".join(time_range(*time) for time in times)
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
                *strips(videos(prediction["video_id"])),
                Timeline(prediction["seconds"], {"true": done, "predicted": assigned}),
                Lines(lines),
            ],
        )

    return best_and_worst(
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
    """Makes cards of videos with the class of each feature.

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
                *strips(videos(prediction["video_id"])),
                Timeline(len(prediction["true"]) * length, rows),
            ],
        )

    return best_and_worst(
        "videos",
        "Ordered by the share of frames with the right class.",
        predictions,
        lambda prediction: prediction["accuracy"],
        card,
    )
