import numpy as np
import pytest

from vtmask.errors import UserError
from vtmask.evaluation import moments

RNG = np.random.default_rng(0)


def mask(*lengths: int) -> np.ndarray:
    return np.arange(32) < np.array(lengths)[:, None]


def test_all_moments() -> None:
    assert moments.all_moments(1).tolist() == [[0, 0]]
    assert moments.all_moments(3).tolist() == [[0, 0], [1, 1], [2, 2], [0, 1], [0, 2], [1, 2]]
    actual = moments.all_moments(6)
    assert len(np.unique(actual, axis=0)) == len(actual) == 21
    assert actual[[6, 20]].tolist() == [[0, 1], [4, 5]]


def test_ranking_agrees_with_means_of_hidden_states() -> None:
    frames, text = RNG.standard_normal((4, 32, 8)), RNG.standard_normal((4, 8))
    lengths = [30, 27, 12, 32]
    actual = moments.rank(frames, text, mask(*lengths))
    for row, length in enumerate(lengths):
        scores = {
            (first, last): frames[row, 5 * first : 5 * last + 5].mean(axis=0) @ text[row]
            for first, last in moments.all_moments(6).tolist()
            if 5 * first < length
        }
        expected = sorted(scores, key=lambda moment: -scores[moment])
        assert list(map(tuple, actual[row, : len(scores)].tolist())) == expected


def test_moments_without_a_feature_come_last() -> None:
    frames = np.ones((2, 30, 4), np.float32)
    frames[:, 20:] = 9
    actual = moments.rank(frames, np.ones((2, 4)), mask(25, 20)[:, :30])
    assert actual[0, -1].tolist() == [5, 5]
    assert actual[1, -3:].tolist() == [[4, 4], [5, 5], [4, 5]]


def test_moments_beyond_the_segments_come_last() -> None:
    frames = np.ones((2, 32, 4))
    frames[:, 20:] = 9
    actual = moments.rank(frames, np.ones((2, 4)), mask(26, 26), np.array([5, 6]))
    assert actual[0, 0].tolist() == [4, 4]
    assert (actual[0, :15, 1] < 5).all() and (actual[0, 15:, 1] == 5).all()
    assert actual[1, :3].tolist() == [[4, 4], [5, 5], [4, 5]]


def test_equal_scores_are_in_the_order_of_moments() -> None:
    actual = moments.rank(np.ones((1, 32, 4)), np.ones((1, 4)), mask(30))
    np.testing.assert_array_equal(actual[0], moments.all_moments(6))


def test_a_non_finite_score_is_reported_with_its_sentence() -> None:
    frames = np.ones((2, 32, 4))
    frames[1, 27] = np.nan
    with pytest.raises(UserError, match="scores of sentence 1 are not finite"):
        moments.rank(frames, np.ones((2, 4)), mask(30, 30))


@pytest.mark.parametrize(
    ("frames", "text", "video_mask"),
    [
        ((2, 29, 4), (2, 4), (2, 29)),
        ((2, 34, 4), (2, 4), (2, 32)),
        ((2, 32, 4), (1, 4), (2, 32)),
        ((2, 32, 4), (2, 5), (2, 32)),
    ],
)
def test_wrong_shapes_are_refused(
    frames: tuple[int, ...], text: tuple[int, ...], video_mask: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"frames \[B, V, H\]"):
        moments.rank(np.ones(frames), np.ones(text), np.ones(video_mask, bool))
