from pathlib import Path

import numpy as np
import pytest
from features import videos
from PIL import Image

from vtmask.errors import UserError
from vtmask.features import create, extraction, show
from vtmask.features.extractors import ExtractorConfig
from vtmask.features.listing import Listed

CONFIG = ExtractorConfig("pixel-statistics-v1")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Writes a video of 12 seconds: dark, bright, dark."""
    return videos.write(tmp_path / "a.mp4", videos.greys(np.repeat([40, 200, 40], 96)))


def extract(video: Path, out: Path) -> Path:
    listed = [Listed("deep/a", video)]
    extraction.extract_all(listed, create(CONFIG.model), out, out / "extracted.jsonl", 1)
    return out / "deep/a.npy"


def test_a_picture_of_extracted_features_finds_their_video(video: Path, tmp_path: Path) -> None:
    features = extract(video, tmp_path / "features")
    show.write_picture(features, tmp_path / "a.png", None, CONFIG)
    of_features = (tmp_path / "a.png").read_bytes()
    show.write_picture(video, tmp_path / "b.png", None, CONFIG)
    assert of_features == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    strip = pixels[45:95]  # the strip of frames: dark, bright, dark
    left, middle, right = (strip[:, round(x * pixels.shape[1])].mean() for x in (0.2, 0.5, 0.8))
    assert middle > left + 100 and middle > right + 100


def test_similarity_of_many_features_is_between_means() -> None:
    features = np.repeat(np.eye(2, dtype=np.float16), 3000, axis=0)
    similarity = show._similarity(features)
    assert similarity.shape == (600, 600)
    assert similarity[0, 299] == 1 and similarity[0, 300] == 0


def test_features_of_an_unknown_video_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 4), np.float16))
    with pytest.raises(UserError, match="a.npy: its video is unknown; .* --video"):
        show.write_picture(tmp_path / "a.npy", tmp_path / "a.png", None, CONFIG)


def test_the_video_of_features_may_be_given(video: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.ones((3, 4), np.float16))
    show.write_picture(tmp_path / "other.npy", tmp_path / "a.png", video, CONFIG)
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize("values", [np.ones(3), np.ones((0, 4)), np.full((3, 4), np.nan), 1.0])
def test_files_without_features_are_refused(
    video: Path, tmp_path: Path, values: np.ndarray
) -> None:
    np.save(tmp_path / "bad.npy", values)
    with pytest.raises(UserError, match="bad.npy: features"):
        show.write_picture(tmp_path / "bad.npy", tmp_path / "a.png", video, CONFIG)


def test_an_unknown_picture_format_is_refused(video: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a.xyz: Format 'xyz' is not supported"):
        show.write_picture(video, tmp_path / "a.xyz", None, CONFIG)
