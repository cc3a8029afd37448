import base64
from xml.etree import ElementTree

import numpy as np
import pytest

from vtmask.evaluation import figures
from vtmask.evaluation.report import Figure


def svg(figure: Figure) -> str:
    """Returns the SVG of the plot for light pages; raises a ParseError if it is not XML."""
    text = base64.b64decode(figure.plot.light.split(",")[1]).decode()
    ElementTree.fromstring(text)
    return text


def test_a_heat_map_reports_its_means() -> None:
    figure = figures.heat_map(np.eye(4))
    assert "The mean score is 1 for right pairs and 0.25 for all pairs." in figure.caption
    assert "4 texts against as many videos. The mean score is 1" in figure.alt
    assert "The map shows" not in figure.caption
    assert len(svg(figure)) > 1000


def test_a_heat_map_of_many_pairs_shows_some() -> None:
    figure = figures.heat_map(np.random.default_rng(0).standard_normal((600, 600)))
    assert "The map shows 256 of the 600 texts" in figure.caption
    assert len(svg(figure)) < 1e6


def test_a_heat_map_reports_how_many_pairs_it_leaves_out() -> None:
    figure = figures.heat_map(np.eye(4), total=900)
    assert "The map shows 4 of the 900 texts" in figure.caption
    assert "of 900 texts" in figure.alt


def test_a_heat_map_may_have_one_pair() -> None:
    assert "is 2 for right pairs and 2 for all pairs" in figures.heat_map(np.full((1, 1), 2)).alt


def test_a_recall_curve_reports_the_median_ranks() -> None:
    figure, ranks = figures.recall_curve, np.array([1.0, 2.0, 2.5, 40.0])
    actual = figure({"text to video": ranks, "video to text": ranks + 1}, 40)
    assert "The median rank is 2.25 text to video, 3.25 video to text." in actual.alt
    assert "every K up to 40" in actual.caption
    assert len(svg(actual)) > 1000


@pytest.mark.parametrize("candidates", [1, 100_000])
def test_a_recall_curve_may_have_few_or_many_candidates(candidates: int) -> None:
    actual = figures.recall_curve({"text to video": np.ones(3)}, candidates)
    assert len(svg(actual)) < 100_000


def test_a_confusion_matrix_reports_accuracy_and_the_most_frequent_confusion() -> None:
    counts = np.array([[6, 4, 0], [1, 9, 0], [0, 0, 0]])
    figure = figures.confusion_matrix(counts, ["background", "pour $5", "<stir>"])
    summary = (
        "75.0 % are correct; the most frequent confusion, 4 times, is “background” predicted as"
    )
    assert f"{summary} “pour $5”." in figure.caption
    assert f"{summary} “pour $5”." in figure.alt
    assert "The matrix shows" not in figure.caption
    assert len(svg(figure)) > 1000


@pytest.mark.parametrize("counts", [np.diag([3, 4]), np.zeros((2, 2), int)])
def test_a_confusion_matrix_may_have_no_confusion(counts: np.ndarray) -> None:
    assert (
        "no class was predicted as another" in figures.confusion_matrix(counts, ["a", "b"]).caption
    )


def test_a_confusion_matrix_may_have_no_correct_prediction() -> None:
    figure = figures.confusion_matrix(np.array([[0, 2], [1, 0]]), ["a", "b"])
    assert (
        "0.0 % are correct; the most frequent confusion, 2 times, is “a” predicted as “b”"
        in figure.caption
    )


def test_a_confusion_matrix_of_many_classes_shows_the_most_frequent() -> None:
    counts = np.diag(np.arange(100))
    counts[0, 99] = 500  # the most frequent true class
    names = [f"class {i}" for i in range(100)]
    figure = figures.confusion_matrix(counts, names)
    assert "The matrix shows the 30 most frequent of 100 classes" in figure.caption
    assert "“class 0” predicted as “class 99”" in figure.caption
    drawn = svg(figure)
    shown = {name for name in names if f"<!-- {name} -->" in drawn}
    assert shown == {"class 0"} | {f"class {i}" for i in range(71, 100)}


def test_bars_are_ordered_and_report_the_extremes() -> None:
    figure = figures.bars({"a": 0.2, "b": 0.9, "c": 0.5}, {"b": (0.8, 1.0)}, "recall of a task")
    assert "highest for “b” (90.0 %) and lowest for “a” (20.0 %)" in figure.alt
    assert "95 % bootstrap interval" in figure.caption
    drawn = svg(figure)
    places = [drawn.index(f"<!-- {name} -->") for name in "bca"]
    assert places == sorted(places)


def test_bars_may_have_one_value_and_no_interval() -> None:
    figure = figures.bars({"a": 0.0}, {})
    assert "interval" not in figure.caption
    assert len(svg(figure)) > 1000


def test_many_bars_show_only_the_extremes() -> None:
    figure = figures.bars({f"class {i:03}": i / 100 for i in range(100)}, {})
    assert "The plot shows the 20 highest and the 20 lowest of 100." in figure.caption
    drawn = svg(figure)
    shown = [i for i in range(100) if f"<!-- class {i:03} -->" in drawn]
    assert shown == [*range(20), *range(80, 100)]
