from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vtmask.evaluation import cards, moment_cards
from vtmask.evaluation.report import Card, Group, Line, Lines, Span, Strip, Timeline


def file(video_id: str) -> Path:
    return Path(f"/videos/{video_id}.mp4")


def no_file(video_id: str) -> None:
    del video_id


def titles(groups: Sequence[Group]) -> list[list[str]]:
    return [[card.title for card in group.cards] for group in groups]


def lines(card: Card) -> Sequence[Line]:
    (actual,) = (part.items for part in card.parts if isinstance(part, Lines))
    return actual


def timeline(card: Card) -> Timeline:
    (actual,) = (part for part in card.parts if isinstance(part, Timeline))
    return actual


def strips(groups: Sequence[Group]) -> list[Strip]:
    parts = [part for group in groups for card in group.cards for part in card.parts]
    of_lines = [line.strip for part in parts if isinstance(part, Lines) for line in part.items]
    of_cards = [part for part in parts if isinstance(part, Strip)]
    return of_cards + [strip for strip in of_lines if strip]


def query(
    number: int, rank: float, margin: float = 1.0, direction: str = "text to video"
) -> dict[str, Any]:
    """Makes a query over twelve videos with the right one at this rank."""
    others = [f"v{i}" for i in range(12) if i != number]
    ranked = others[: int(rank) - 1] + [f"v{number}"] + others[int(rank) - 1 :]
    scores = [9.0 - i for i in range(12)]
    scores[int(rank) - 1] += margin
    return {
        "direction": direction,
        "query": f"text {number}",
        "right": f"v{number}",
        "rank": rank,
        "score": scores[int(rank) - 1],
        "retrieved": [{"id": i, "score": s} for i, s in zip(ranked, scores, strict=True)][:10],
    }


TEXTS = {f"v{i}": f"text {i}" for i in range(12)}


def test_retrieval_is_ordered_by_rank_then_by_margin() -> None:
    ranks = [1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12]
    predictions = [query(i, rank, margin=i / 10) for i, rank in enumerate(ranks)]
    other_way = [query(0, 1, direction="video to text")]
    groups = cards.retrieval(other_way + predictions, file, TEXTS, 12)
    assert [group.heading for group in groups] == ["Best text queries", "Worst text queries"]
    assert titles(groups) == [
        [f"text {i}" for i in (2, 1, 0, 3, 4)],
        [f"text {i}" for i in (11, 10, 9, 8, 7)],
    ]
    assert groups[1].cards[0].note == "The right video ranks 12 of 12"


def test_retrieval_shows_the_right_video_wherever_it_ranks() -> None:
    (group,) = cards.retrieval([query(7, 1), query(3, 12)], file, TEXTS, 12)
    first, last = map(lines, group.cards)
    assert [line.note for line in first] == ["#1 · v7", "#2 · v0", "#3 · v1"]
    assert [line.mark for line in first] == ["right", "", ""]
    assert [line.note for line in last] == ["#1 · v0", "#2 · v1", "#3 · v2", "#12 · v3"]
    assert [line.mark for line in last] == ["", "", "", "right"]
    assert last[3] == Line("text 3", -1.0, "right", Strip(file("v3")), "#12 · v3")


def test_retrieval_of_parts_of_videos_shows_the_part() -> None:
    (group,) = cards.retrieval([query(7, 1)], file, {}, 12, {"v7": (2.0, 5.0)})
    assert lines(group.cards[0])[0].strip == Strip(file("v7"), 2.0, 5.0)
    assert lines(group.cards[0])[1].strip == Strip(file("v0"))


def test_one_query_of_one_video() -> None:
    prediction = query(0, 1) | {"retrieved": [{"id": "v0", "score": 1.0}]}
    (group,) = cards.retrieval([prediction], file, {}, 1)
    assert group.cards[0].note == "The right video ranks 1 of 1"


def test_missing_video_files_are_mentioned_once() -> None:
    predictions = [query(i, i + 1) for i in range(12)]
    groups = cards.retrieval(predictions, no_file, TEXTS, 12)
    assert not strips(groups)
    remarks = [group.explanation.count("the data set has no video files") for group in groups]
    assert remarks == [1, 0]
    assert "No video files" not in cards.retrieval(predictions, file, {}, 12)[0].explanation


def question(number: int, scores: list[float], correct: int) -> dict[str, Any]:
    return {
        "video_id": f"v{number}",
        "answers": [f"answer {i}" for i in range(len(scores))],
        "correct": correct,
        "predicted": scores.index(max(scores)),
        "scores": scores,
    }


def test_questions_are_ordered_by_margin() -> None:
    predictions = [question(i, [0.0, float(i - 6), -9.0], 1) for i in range(12)]
    groups = cards.question_answering(predictions, file)
    assert titles(groups) == [[f"v{i}" for i in (11, 10, 9, 8, 7)], [f"v{i}" for i in range(5)]]
    right, wrong = groups[0].cards[0], groups[1].cards[0]
    assert (right.note, wrong.note) == ("Answered correctly", "Answered incorrectly")
    assert right.parts[0] == Strip(file("v11"))
    assert [(line.mark, line.note) for line in lines(right)] == [
        ("", ""),
        ("right", "chosen"),
        ("", ""),
    ]
    assert [(line.mark, line.note) for line in lines(wrong)] == [
        ("wrong", "chosen"),
        ("right", ""),
        ("", ""),
    ]


def test_questions_may_be_all_right_or_all_wrong() -> None:
    for correct, note in ((0, "Answered correctly"), (1, "Answered incorrectly")):
        predictions = [question(i, [1.0, 0.0], correct) for i in range(7)]
        groups = cards.question_answering(predictions, file)
        assert [len(group.cards) for group in groups] == [5, 2]
        assert {card.note for group in groups for card in group.cards} == {note}


def test_a_question_may_have_one_answer() -> None:
    (group,) = cards.question_answering([question(0, [1.0], 0)], no_file)
    assert len(lines(group.cards[0])) == 1


def test_captions_are_ordered_by_cider() -> None:
    predictions = [
        {
            "video_id": f"v{i}",
            "start": 2.0,
            "end": 7.54,
            "caption": "stir <it>",
            "references": ["stir the soup", "stir"],
            "CIDEr": i / 10,
        }
        for i in range(12)
    ]
    best, worst = cards.captions(predictions, file)
    assert [card.note for card in best.cards] == [
        f"CIDEr {value}" for value in ("1.10", "1.00", "0.90", "0.80", "0.70")
    ]
    assert worst.cards[0].title == "v0, 2–7.5 s"
    assert worst.cards[0].parts == [
        Strip(file("v0"), 2.0, 7.54),
        Lines(
            [
                Line("stir <it>", mark="chosen", note="generated"),
                Line("stir the soup", note="reference"),
                Line("stir", note="reference"),
            ]
        ),
    ]


def localised(number: int, recall: float | None) -> dict[str, Any]:
    return {
        "video_id": f"v{number}",
        "task": "Make Latte",
        "steps": ["add coffee", "press", "pour milk", "whip"],
        "predicted": [12, 30, -1, 50],
        "true": [[[2.0, 4.0], [12.9, 14.0]], [[31.0, 40.0]], [[50.0, 60.0]], []],
        "seconds": 61.0,
        "recall": recall,
    }


def test_steps_show_hits_and_misses() -> None:
    (group,) = cards.steps([localised(0, 1 / 3)], file)
    (card,) = group.cards
    assert (card.title, card.note) == ("Make Latte", "v0: 1 of 3 steps found")
    assert timeline(card) == Timeline(
        61.0,
        {
            "true": [
                Span(2.0, 4.0, "add coffee"),
                Span(12.9, 14.0, "add coffee"),
                Span(31.0, 40.0, "press"),
                Span(50.0, 60.0, "pour milk"),
            ],
            "predicted": [Span(12, 13, "add coffee"), Span(30, 31, "press"), Span(50, 51, "whip")],
        },
    )
    assert lines(card) == [
        Line("add coffee: 2–4 s, 12.9–14 s", mark="right", note="12 s"),
        Line("press: 31–40 s", mark="wrong", note="30 s"),
        Line("pour milk: 50–60 s", mark="wrong", note="not found"),
        Line("whip: not done", note="50 s"),
    ]


def test_steps_are_ordered_by_recall_if_it_is_defined() -> None:
    predictions = [localised(i, None if i == 3 else i / 12) for i in range(12)]
    best, worst = cards.steps(predictions, file)
    assert best.cards[0].note.startswith("v11:")
    assert [card.note[:3] for card in worst.cards] == ["v0:", "v1:", "v2:", "v4:", "v5:"]
    assert cards.steps([localised(0, None)], file) == []


def test_adjacent_frames_of_a_class_make_one_segment() -> None:
    prediction = {
        "video_id": "v0",
        "true": [0, 0, 2, 2, 2, 0],
        "predicted": [0, 2, 2, 1, 2, 2],
        "best_name": [1, 1, 1, 1, 1, 1],
        "seconds_per_feature": 0.5,
        "accuracy": 0.5,
    }
    (group,) = cards.segments(
        [prediction], ["predicted", "best_name"], ["background", "pour", "stir"], file
    )
    (card,) = group.cards
    assert card.note == "50.0 % of frames correct"
    assert timeline(card) == Timeline(
        3.0,
        {
            "true": [
                Span(0, 1, "background", faint=True),
                Span(1, 2.5, "stir"),
                Span(2.5, 3, "background", faint=True),
            ],
            "predicted": [
                Span(0, 0.5, "background", faint=True),
                Span(0.5, 1.5, "stir"),
                Span(1.5, 2, "pour"),
                Span(2, 3, "stir"),
            ],
            "best name": [Span(0, 3, "pour")],
        },
    )


def sentence(number: int, rank: float, iou: float) -> dict[str, Any]:
    return {
        "video_id": f"v{number}",
        "text": f"text {number}",
        "ranked": [[a, b] for a in range(6) for b in range(a, 6)],
        "times": [[0, 1], [0, 1], [4, 5]],
        "num_segments": 6,
        "rank": rank,
        "IoU": iou,
    }


def test_moments_are_ordered_by_rank_then_by_iou() -> None:
    groups = moment_cards.moments(
        [sentence(0, 2, 0.5), sentence(1, 1, 0.4), sentence(2, 1, 0.9), sentence(3, 20, 0.0)], file
    )
    assert titles(groups) == [["text 2", "text 1", "text 0", "text 3"]]
    assert groups[0].cards[0].note == "v2: rank 1, IoU 0.90"


def test_moments_show_the_best_ranked_and_those_of_the_annotators() -> None:
    (group,) = moment_cards.moments([sentence(0, 2, 0.5)], file)
    (card,) = group.cards
    assert timeline(card) == Timeline(
        30,
        {
            "predicted": [Span(0, 5, "moment")],
            "annotators": [
                Span(0, 10, "moment"),
                Span(0, 10, "moment"),
                Span(20, 30, "moment"),
            ],
        },
    )
    assert [(line.note, line.mark) for line in lines(card)] == [
        ("#1", ""),
        ("#2", "right"),
        ("#3", ""),
        ("#20", "right"),
    ]
    assert lines(card)[1].text == "0–10 s, chosen by 2 of 3 annotators"
    assert lines(card)[3].strip == Strip(file("v0"), 20, 30)


def test_no_predictions_give_no_groups() -> None:
    assert cards.captions([], file) == []
    assert moment_cards.moments([], no_file) == []
