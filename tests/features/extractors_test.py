import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from vtmask.errors import UserError
from vtmask.features import Window, create
from vtmask.features.extractors import ExtractorConfig


def square(
    x: ArrayLike, y: ArrayLike, colour: tuple[int, int, int] = (220, 30, 30), background: int = 90
) -> np.ndarray:
    """Makes a second of frames, uint8 [1, 8, 48, 48, 3], with a square whose corner is at x, y."""
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
    original = square(8, 8)
    moved = similarity(original, square(28, 24))
    assert moved > similarity(original, square(8, 8, colour=(35, 80, 225)))
    assert moved > similarity(original, square(8 + 3 * np.arange(8), 8))


def test_direction_of_motion_matters() -> None:
    right = 8 + 2 * np.arange(8)
    same, opposite = square(right + 6, 20), square(right[::-1], 8)
    assert similarity(square(right, 8), same) > similarity(square(right, 8), opposite)


def test_features_that_cannot_be_made_here_are_refused() -> None:
    with pytest.raises(UserError, match="'s4d'.*'pixel-statistics-v1'.*vtmask extract"):
        create("s4d")


def test_the_error_of_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="'s4d', expected 's3d' or 'pixel-statistics-v1' or"):
        ExtractorConfig("s4d").create()


def test_the_error_of_s3d_without_weights_says_where_they_are() -> None:
    with pytest.raises(UserError, match="needs --weights, s3d_howto100m.pth from https://"):
        ExtractorConfig("s3d").create()


CALLABLES = """
from __future__ import annotations
import dataclasses
import helper
import numpy as np
from vtmask.features import Window

def mean(frames):
    return frames.mean((1, 2, 3), dtype=np.float32) / 255

class Clip:
    name = "clip-vit-b32"
    window = Window(frames=2, frame_rate=4, image_size=64)
    def __call__(self, frames):
        assert frames.shape[1:] == (2, 64, 64, 3) and frames.dtype == np.uint8
        return np.ones((len(frames), 5), np.float16)

def summed(frames):
    return frames.sum()

def whole(frames):
    return frames.mean((1, 2, 3)).astype(int)

def squeezed(frames):
    return mean(frames).squeeze()

@dataclasses.dataclass
class Scaled:
    scale: float = 2.0
    def __call__(self, frames):
        return helper.scaled(mean(frames), self.scale)

number = 3
wide = Clip()
wide.window = 1.0
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(CALLABLES)
    (tmp_path / "helper.py").write_text("def scaled(values, scale): return scale * values")
    return tmp_path / "mine.py"


@pytest.mark.parametrize(
    "wrong", [{"frames": 0}, {"frame_rate": 0}, {"image_size": -1}, {"fill": "white"}]
)
def test_invalid_windows_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"Window.{next(iter(wrong))} is "):
        Window(**{"frames": 1, "frame_rate": 1, "image_size": 32} | wrong)


def test_any_function_is_an_extractor(module: Path) -> None:
    extractor = ExtractorConfig(f"{module}:mean").create()
    assert (extractor.name, extractor.size) == (f"{module}:mean", 3)
    assert extractor.window == Window(frames=1, frame_rate=1, image_size=224)
    frames = np.full((2, 1, 224, 224, 3), 51, np.uint8)
    np.testing.assert_allclose(extractor(frames), 0.2, rtol=1e-6)


def test_a_callable_may_state_its_name_and_window(module: Path) -> None:
    extractor = ExtractorConfig(f"{module}:Clip").create()
    assert (extractor.name, extractor.size) == ("clip-vit-b32", 5)
    assert extractor.window.seconds == 0.5


def test_a_callable_may_be_in_a_module(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(module.parent)
    assert ExtractorConfig("mine:Clip").create().size == 5


@pytest.mark.parametrize(
    "name, problem",
    [
        ("gone", "has no callable 'gone'"),
        ("number", "has no callable 'number'"),
        ("summed", r"gives uint64 \(\) for 1 windows, expected floats"),
        ("whole", r"gives int64 \(1, 3\) for 1 windows, expected floats"),
        ("squeezed", r"gives float32 \(3,\) for 1 windows, expected floats \(1, size\)"),
        ("wide", "its window is 1.0, expected a Window"),
    ],
)
def test_callables_that_are_no_extractors_are_refused(
    module: Path, name: str, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        ExtractorConfig(f"{module}:{name}").create()


def test_an_extractor_may_import_a_module_beside_it(module: Path) -> None:
    assert ExtractorConfig(f"{module}:Scaled").create().size == 3


@pytest.mark.parametrize("place", ["gone.py:f", "no_such_module:f", ":f", "bad.py:f"])
def test_callables_that_cannot_be_imported_are_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text("def f(:")
    with pytest.raises(UserError, match="can't be imported"):
        ExtractorConfig(place).create()


def test_features_need_neither_tensorflow_nor_jax() -> None:
    code = "import sys, vtmask.features; print({'tensorflow', 'jax'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
