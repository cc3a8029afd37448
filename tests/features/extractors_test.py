import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import ArrayLike

from vtmask.errors import UserError
from vtmask.features import create


def square(
    x: ArrayLike, y: ArrayLike, colour: tuple[int, int, int] = (220, 30, 30), background: int = 90
) -> np.ndarray:
    """One second of frames, uint8 [1, 8, 48, 48, 3], with a square whose corner is at x, y."""
    frames = np.full((1, 8, 48, 48, 3), background, np.uint8)
    for frame, left, top in zip(
        frames[0], np.broadcast_to(x, 8), np.broadcast_to(y, 8), strict=True
    ):
        frame[top : top + 10, left : left + 10] = colour
    return frames


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    extractor = create("pixel-statistics-v1")
    return float((extractor(a) @ extractor(b).T).item())


def test_rows_are_finite_unit_vectors_for_any_input() -> None:
    extractor = create("pixel-statistics-v1")
    noise = np.random.default_rng(0).integers(0, 256, (3, 8, 48, 48, 3), dtype=np.uint8)
    black, white = np.zeros_like(noise), np.full_like(noise, 255)
    features = extractor(np.concatenate([noise, black, white]))
    assert features.shape == (9, extractor.size)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)


def test_a_window_does_not_depend_on_its_neighbours() -> None:
    extractor = create("pixel-statistics-v1")
    windows = np.concatenate([square(5, 5), square(np.arange(8), 20), square(30, 30)])
    alone = np.concatenate([extractor(window[None]) for window in windows])
    np.testing.assert_allclose(extractor(windows), alone, atol=1e-6)


def test_place_matters_less_than_colour_and_motion() -> None:
    here = square(8, 8)
    elsewhere = similarity(here, square(28, 24))
    assert elsewhere > similarity(here, square(8, 8, colour=(35, 80, 225)))
    assert elsewhere > similarity(here, square(8 + 3 * np.arange(8), 8))


def test_direction_of_motion_shows() -> None:
    right = 8 + 2 * np.arange(8)
    same, opposite = square(right + 6, 20), square(right[::-1], 8)
    assert similarity(square(right, 8), same) > similarity(square(right, 8), opposite)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="'s4d'.*pixel-statistics-v1"):
        create("s4d")


def test_needs_neither_tensorflow_nor_jax() -> None:
    code = "import sys, vtmask.features; print({'tensorflow', 'jax'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
