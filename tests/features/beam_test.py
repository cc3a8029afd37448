from pathlib import Path

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from features import videos as made

from vtmask.features import beam, create, extraction
from vtmask.features.extractors import ExtractorConfig
from vtmask.features.listing import Listed

CONFIG = ExtractorConfig("pixel-statistics-v1")


@pytest.fixture
def videos(tmp_path: Path) -> list[Listed]:
    pictures = made.greys(np.arange(60) * 3)
    good = [Listed(f"{n}", made.write(tmp_path / f"{n}.mp4", pictures[n:])) for n in range(3)]
    (tmp_path / "text.mp4").write_text("no video")
    return [*good, Listed("text", tmp_path / "text.mp4")]


def test_beam_writes_the_same_files_as_one_machine(videos: list[Listed], tmp_path: Path) -> None:
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    expected = extraction.extract_all(
        videos, create(CONFIG.model), alone, alone / "extracted.jsonl", 2
    )
    options = PipelineOptions([])
    for _ in range(2):  # the second time only the bad video remains
        actual = beam.extract_all(videos, CONFIG, spread, spread / "extracted.jsonl", options)
        assert {outcome.video: outcome for outcome in actual} == {o.video: o for o in expected}
    for video in videos[:3]:
        name = f"{video.name}.npy"
        assert (alone / name).read_bytes() == (spread / name).read_bytes()
    assert (alone / "features.json").read_bytes() == (spread / "features.json").read_bytes()
    assert not list(spread.glob(".*"))
