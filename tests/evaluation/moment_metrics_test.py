"""Metrics of moments in seconds agree with values computed by hand from the papers' definitions."""

import numpy as np
import pytest

from vtmask.evaluation import moment_metrics


def test_ious() -> None:
    actual = moment_metrics.ious(
        np.array([[0, 10], [5, 5]]), np.array([[5, 15], [20, 30], [2, 4], [5, 5]])
    )
    assert actual.tolist() == [[5 / 15, 0, 2 / 10, 0], [0, 0, 0, 0]]


def test_average_precision_of_one_window() -> None:
    """The first prediction has IoU 0.8, the second 1.0."""
    right, ranked = np.array([[0.0, 10]]), np.array([[0.0, 8], [0, 10]])
    actual = moment_metrics.average_precision(ranked, right)
    # Up to 0.8 the first is right: precision 1 at recall 1. Above, only the second is: 1/2.
    np.testing.assert_allclose(actual, [1, 1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5])


def test_average_precision_of_several_windows() -> None:
    """Of two right windows, the first is hit by two predictions, and only one of them counts."""
    right = np.array([[0.0, 10], [20, 40]])
    ranked = np.array([[0.0, 9], [0, 10], [50, 60], [20, 30]])
    actual = moment_metrics.average_precision(ranked, right)
    # At 0.5 hits are at ranks 1 and 4 (IoU 0.5): 1/2 * 1 + 1/2 * 2/4.
    assert actual[0] == pytest.approx(0.75)
    # At 0.55 to 0.9 no prediction hits the second window: 1/2 * 1.
    np.testing.assert_allclose(actual[1:9], 0.5)
    # At 0.95 the second prediction is the hit: 1/2 * 1/2.
    assert actual[9] == pytest.approx(0.25)


def test_precision_is_the_highest_at_this_or_a_higher_recall() -> None:
    """Hits at ranks 2 and 3 have precisions 1/2 and 2/3. The higher one counts for both."""
    right, ranked = np.array([[0.0, 10], [20, 40]]), np.array([[50.0, 60], [0, 10], [20, 40]])
    np.testing.assert_allclose(moment_metrics.average_precision(ranked, right), 2 / 3)


def test_a_prediction_takes_the_window_that_it_fits_best() -> None:
    """The first prediction fits both windows, and the second one needs the window that is left."""
    right, ranked = np.array([[0.0, 8], [0, 10]]), np.array([[0.0, 10], [0, 8.5]])
    assert moment_metrics.average_precision(ranked, right)[0] == 1
    assert moment_metrics.average_precision(ranked[::-1], right)[0] == 1
    shorter = np.array([[0.0, 10], [0, 6]])  # the second fits only [0, 8] at an IoU of 0.7
    assert moment_metrics.average_precision(shorter, right)[4] == 1


def test_figures_over_windows() -> None:
    first = np.array([0.7, 0.5, 0.49, 0.0])
    precisions = np.array([[1.0] * 10, [0.5] * 10, [0] * 10, [0] * 10])
    actual = moment_metrics.windows(first, precisions)
    assert actual == {
        "R@1, IoU 0.5": 0.5,
        "R@1, IoU 0.7": 0.25,
        "mAP": pytest.approx(0.375),
        "mIoU": pytest.approx(0.4225),
    }
