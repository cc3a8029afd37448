"""Files become the right videos or are skipped, and real video files become records."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data_folder.folders import reasons, splits, videos, write
from PIL import Image

from data.demo import rendering, world
from data.folder.folder_dataset_builder import Builder, FolderConfig
from vtmask.datasets.entries import FeatureFile, Skipped, Video, VideoFile
from vtmask.errors import UserError
from vtmask.files.subtitles import Caption
from vtmask.inputs import samplers
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import TrainingBatches
from vtmask.models import VLMConfig


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    return tmp_path / "manual"


def test_files_with_one_name_make_a_video(manual: Path) -> None:
    write(manual, "a.npy", "a.mp4", "a.srt", "a.txt", "deep/er/b.c.MKV", "deep/d.npy", "notes.md")
    (manual / "a.txt").write_text("one\n\n two\n")
    actual = videos(manual)
    assert list(actual) == ["a", "deep/d", "deep/er/b.c"]
    assert actual["a"].features == FeatureFile(manual / "a.npy")
    assert actual["a"].file == str(manual / "a.mp4")
    assert actual["a"].captions.lines == [Caption(1, 2.5, "a.srt")]
    assert actual["a"].descriptions == ["one", "two"]
    assert actual["deep/d"].file == "" and actual["deep/d"].captions.lines == []
    path = manual / "deep/er/b.c.MKV"
    assert actual["deep/er/b.c"].features == VideoFile(path, "pixel-statistics-v1")


def test_incomplete_and_ambiguous_videos_are_skipped(manual: Path) -> None:
    write(manual, "a.npy", "b.srt", "b.txt", "c.mp4", "c.webm", "d.mov", "d.vtt", "e.mp4", "e.txt")
    (manual / "d.vtt").write_text("WEBVTT\n\nnothing\n")
    (manual / "e.txt").write_bytes(b"\xff")
    actual = reasons(manual)
    assert list(videos(manual)) == ["a", "d", "e"] and list(actual) == ["b", "c"]
    assert actual["b"] == "b.srt, b.txt: without a video or features"
    assert actual["c"] == "c.mp4, c.webm: have the same name; keep one of them"


def test_gifs_are_videos(manual: Path, tmp_path: Path) -> None:
    manual.mkdir()
    frames = [Image.new("RGB", (32, 32), (80 * i, 0, 0)) for i in range(3)]
    frames[0].save(manual / "a.gif", save_all=True, append_images=frames[1:], duration=1000)
    (manual / "a.txt").write_text("a loop")
    build(manual, tmp_path)
    dataset = Dataset("folder/default", "train", str(tmp_path))
    assert dataset.num_records == 1
    assert dataset[0]["features"].shape == (3, 512)
    assert dataset[0]["descriptions"]["text"] == ["a loop"]


def test_hidden_and_other_files_are_ignored(manual: Path) -> None:
    write(manual, "a.mp4", "._a.mp4", ".trash/b.mp4", "vocab.txt", "a.info.json", "a.mp4.part")
    write(manual, "features.json", "deep/features.json")
    assert list(splits(manual)["train"]) == ["a"]


def test_a_file_name_that_is_not_utf_8_is_skipped(manual: Path) -> None:
    write(manual, "a.npy")
    try:
        (manual / "caf\udce9.mp4").touch()
    except OSError:
        pytest.skip("this file system takes no such name")
    assert reasons(manual) == {"caf\\udce9": "file name is not UTF-8; rename it"}


def test_folders_become_splits(manual: Path) -> None:
    write(
        manual, "test/b.npy", "train/a.npy", "train/deep/train.npy", "train.npy", "other/test.mp4"
    )
    actual = splits(manual)
    assert list(actual) == ["train", "test"]
    assert [name for name, entry in actual["train"].items() if isinstance(entry, Video)] == [
        "train/a",
        "train/deep/train",
    ]
    assert list(actual["test"]) == ["test/b"]
    assert actual["train"]["train"] == Skipped(
        "train", "lies outside the folders train, validation, test"
    )
    assert isinstance(actual["train"]["other/test"], Skipped)


def test_features_may_be_in_a_separate_folder(manual: Path, tmp_path: Path) -> None:
    write(manual, "train/a.mp4", "train/a.vtt", "features/train/a.npy", "features/test/b.npy")
    actual = splits(manual, features="features")
    assert {split: list(entries) for split, entries in actual.items()} == {
        "train": ["train/a"],
        "test": ["test/b"],
    }
    video = actual["train"]["train/a"]
    assert isinstance(video, Video) and len(video.captions.lines) == 1
    assert video.features == FeatureFile(manual / "features/train/a.npy")
    assert splits(manual, features=str(manual / "features")) == actual


def test_links_are_followed_but_not_in_cycles(manual: Path, tmp_path: Path) -> None:
    write(tmp_path / "disk", "a.npy")
    manual.mkdir()
    (manual / "train").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "again").symlink_to(manual)
    assert list(videos(manual)) == ["train/a"]


@pytest.mark.parametrize(
    ("names", "fields", "problem"),
    [
        (["a.srt"], {}, "neither videos .* nor features"),
        (["a.mp4"], {"feature_extractor": "s3d"}, "a.mp4: .* 's3d'.* as a .npy file"),
        (["a.mp4"], {"feature_size": 4}, "a.mp4, .* feature_size 512, the config says 4; set"),
        (["a.mp4"], {"seconds_per_feature": 2.0}, 'set "seconds_per_feature": 1.0 in --config'),
        (["a.npy"], {"features": "none"}, "none: cannot be read"),
    ],
)
def test_errors_that_end_a_build(
    manual: Path, names: list[str], fields: dict[str, Any], problem: str
) -> None:
    write(manual, *names)
    with pytest.raises(UserError, match=problem):
        splits(manual, **fields)


def test_feature_files_may_come_from_any_extractor(manual: Path) -> None:
    write(manual, "a.npy", "a.mp4")
    actual = videos(manual, feature_extractor="s3d", feature_size=4)
    assert actual["a"].features == FeatureFile(manual / "a.npy")


def test_a_video_without_s3d_features_is_skipped(manual: Path) -> None:
    write(manual, "a.npy", "a.mp4", "b.mp4")
    source = videos(manual, feature_extractor="s3d")["b"].features
    with pytest.raises(UserError, match="features 's3d' can't be made here"):
        source.read()  # the build skips such a video and lists the reason


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """Makes a manual folder with two readable videos and a damaged one; returns features, too."""
    folder = tmp_path_factory.mktemp("manual")
    stories = world.stories(seed=3, split="train", count=2)
    made = {
        story.video_id: rendering.make_video(
            story, folder / f"{story.video_id}.mp4", "pixel-statistics-v1"
        )
        for story in stories
    }
    first, second = made
    write(folder, f"{first}.en.vtt", f"{first}.json", "broken.mp4")
    (folder / f"{first}.json").write_text("{}")
    (folder / f"{second}.txt").write_text("nobody says anything")
    return folder, made


def build(manual: Path, out: Path, config: FolderConfig | None = None, **options: Any) -> Path:
    download = tfds.download.DownloadConfig(manual_dir=manual, **options)
    builder = Builder(config=config, data_dir=out)
    builder.download_and_prepare(download_config=download)
    return Path(builder.data_path)


def test_records_of_video_files(filmed: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    manual, made = filmed
    folder = build(manual, tmp_path)
    dataset = Dataset("folder/default", "train", str(tmp_path))
    by_id = {dataset[i]["video_id"]: dataset[i] for i in range(dataset.num_records)}
    assert dataset.feature_extractor == "pixel-statistics-v1" and set(by_id) == set(made)
    for name, features in made.items():
        np.testing.assert_array_equal(by_id[name]["features"], features)
        assert by_id[name]["video"] == str(manual / f"{name}.mp4")
    first, second = made
    assert by_id[first]["captions"]["text"] == [f"{first}.en.vtt"]
    assert by_id[second]["captions"]["text"] == []
    assert by_id[second]["descriptions"]["text"] == ["nobody says anything"]
    report = json.loads((folder / "build_report.json").read_text())["train"]
    (skipped,), (left_out,) = report["skipped"], report["left_out"]
    assert left_out["video_id"] == first and f"{first}.json: holds no" in left_out["reason"]
    assert skipped["video_id"] == "broken" and "broken.mp4: cannot be decoded" in skipped["reason"]


def test_beam_writes_the_same_bytes(
    filmed: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    options = pytest.importorskip("apache_beam.options.pipeline_options").PipelineOptions([])
    alone = build(filmed[0], tmp_path / "alone")
    beam = build(filmed[0], tmp_path / "beam", beam_options=options)
    names = sorted(path.name for path in alone.iterdir())
    assert names == sorted(path.name for path in beam.iterdir())
    for name in names:
        assert (alone / name).read_bytes() == (beam / name).read_bytes(), name


@pytest.mark.parametrize("length", [0.5, 2.0])
def test_clips_of_custom_features(manual: Path, tmp_path: Path, length: float) -> None:
    """A clip has the features under its caption's time, whatever their width and rate."""
    times = {"chop the onions": (0.0, 3.0), "fry them": (4.5, 7.0), "now eat": (8.0, 30.0)}
    captions = [{"start": s, "end": e, "text": text} for text, (s, e) in times.items()]
    rows = round(20 / length)
    manual.mkdir()
    for name in "abcd":
        np.save(manual / f"{name}.npy", np.repeat(np.arange(rows)[:, None] + 1.0, 3, axis=1))
        (manual / f"{name}.json").write_text(json.dumps(captions))
    card = {"feature_extractor": "clip", "feature_size": 3, "seconds_per_feature": length}
    (manual / "features.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="features.json: features have .* set "):
        build(manual, tmp_path)
    config = FolderConfig(
        name="clip", feature_extractor="clip", feature_size=3, seconds_per_feature=length
    )
    build(manual, tmp_path, config)
    dataset = Dataset("folder/clip", "train", str(tmp_path))
    model_config = VLMConfig(feature_size=dataset.feature_size)
    sampler = samplers.CaptionWindows(model_config, clips_per_record=16, min_tokens=1, max_tokens=1)
    batch = next(TrainingBatches([dataset], sampler, 64, seed=0).from_step(0))
    drawn = set()
    for video, video_mask, text, text_mask in zip(
        *(batch[name] for name in ("video", "video_mask", "text", "text_mask")), strict=True
    ):
        words = dataset.tokenizer.decode(text[text_mask].tolist())
        caption = next(caption for caption in times if caption in words)
        start, end = (min(time, 20) / length for time in times[caption])
        expected = np.arange(math.floor(start), math.ceil(end))[:32] + 1
        np.testing.assert_array_equal(video[video_mask], np.repeat(expected[:, None], 3, axis=1))
        drawn.add(caption)
    assert drawn == set(times)
