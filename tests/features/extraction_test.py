import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from features import videos as made

from vtmask import disk
from vtmask.errors import UserError
from vtmask.features import extract, extraction, feature_folder
from vtmask.features.feature_folder import Outcome
from vtmask.features.listing import Listed
from vtmask.features.window import Window


@dataclasses.dataclass
class Brightness:
    """An extractor of two numbers that records the sizes of its batches."""

    name: str = "brightness"
    size: int = 2
    window: Window = Window(frames=8, frame_rate=8, image_size=32, fill="last")
    batch_size: int = 3
    batches: list[int] = dataclasses.field(default_factory=list)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        self.batches.append(len(frames))
        values = frames.astype(np.float32).reshape(len(frames), -1) / 255
        return np.stack([values.mean(1), values.std(1)], axis=1)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Listed]:
    """Writes videos of 1, 2, 3 and 4 seconds, each brighter than the previous one."""
    folder = tmp_path_factory.mktemp("videos")
    return [
        Listed(
            f"part-{n % 2}/{n}",
            made.write(folder / f"{n}.mp4", made.greys([50 * n] * 24 * n)),
        )
        for n in (1, 2, 3, 4)
    ]


def run(
    videos: Sequence[Listed],
    out: Path,
    extractor: Brightness | None = None,
    num_decoders: int = 2,
) -> dict[str, Outcome]:
    log = out / "extracted.jsonl"
    outcomes = extraction.extract_all(videos, extractor or Brightness(), out, log, num_decoders)
    return {outcome.video: outcome for outcome in outcomes}


@pytest.mark.parametrize("batch_size, num_decoders", [(1, 1), (3, 2), (100, 7)])
def test_features_equal_those_of_each_video_alone(
    videos: list[Listed], tmp_path: Path, batch_size: int, num_decoders: int
) -> None:
    extractor = Brightness(batch_size=batch_size)
    outcomes = run(videos, tmp_path, extractor, num_decoders)
    for video in videos:
        actual = np.load(tmp_path / f"{video.name}.npy")
        assert actual.dtype == np.float16
        np.testing.assert_array_equal(actual, extract(video.path, Brightness()))
        assert outcomes[video.name] == Outcome(video.name, str(video.path), len(actual))
    assert sum(extractor.batches) == 1 + 2 + 3 + 4
    assert max(extractor.batches[:-1], default=batch_size) == batch_size


def test_batches_are_filled_across_videos(videos: list[Listed], tmp_path: Path) -> None:
    extractor = Brightness(batch_size=4)
    run(videos, tmp_path, extractor)
    assert extractor.batches == [4, 4, 2]


def test_videos_with_features_are_not_extracted_again(videos: list[Listed], tmp_path: Path) -> None:
    before = run(videos[:2], tmp_path)
    marked = tmp_path / f"{videos[0].name}.npy"
    marked.write_bytes(b"mine")
    extractor = Brightness()
    assert run(videos, tmp_path, extractor).items() >= before.items()
    assert marked.read_bytes() == b"mine"
    assert sum(extractor.batches) == 3 + 4
    log = (tmp_path / "extracted.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["video"] for line in log) == sorted(v.name for v in videos)


def test_a_log_cut_short_by_a_kill_is_continued(videos: list[Listed], tmp_path: Path) -> None:
    run(videos[:2], tmp_path)
    log = tmp_path / "extracted.jsonl"
    log.write_text(log.read_text() + '{"video": "part-1/3", "pa')
    assert len(run(videos, tmp_path)) == 4
    assert len(list(feature_folder.read_logs(tmp_path))) == 4


def test_a_logged_video_without_features_is_extracted_again(
    videos: list[Listed], tmp_path: Path
) -> None:
    run(videos, tmp_path)
    (tmp_path / f"{videos[2].name}.npy").unlink()
    extractor = Brightness()
    outcomes = run(videos, tmp_path, extractor)
    assert sum(extractor.batches) == 3 and len(outcomes) == 4


def test_several_commands_may_fill_a_folder(videos: list[Listed], tmp_path: Path) -> None:
    bad = Listed("bad", tmp_path / "gone.mp4")
    assert set(run([videos[0], bad], tmp_path)) == {videos[0].name, "bad"}
    assert set(run(videos[1:], tmp_path)) == {video.name for video in videos[1:]}
    logged = [outcome.video for outcome in feature_folder.read_logs(tmp_path)]
    assert sorted(logged) == sorted(video.name for video in [bad, *videos])


def test_broken_lines_of_a_log_are_ignored(videos: list[Listed], tmp_path: Path) -> None:
    expected = run(videos, tmp_path)
    log = tmp_path / "extracted.jsonl"
    log.write_bytes(b"\0\0\0\n{}\n[1]\n\xff\n" + log.read_bytes())
    assert run(videos, tmp_path) == expected


def test_a_second_command_with_the_same_log_is_refused(
    videos: list[Listed], tmp_path: Path
) -> None:
    log = tmp_path / "extracted.jsonl"
    with (
        feature_folder.alone(log),
        pytest.raises(UserError, match="another command is writing to it"),
    ):
        run(videos, tmp_path)


def test_a_video_listed_twice_is_extracted_once(videos: list[Listed], tmp_path: Path) -> None:
    assert all(outcome.features for outcome in run([*videos, videos[0]], tmp_path).values())


def test_features_of_another_video_with_that_name_do_not_count(
    videos: list[Listed], tmp_path: Path
) -> None:
    run(videos[:1], tmp_path)
    other = Listed(videos[0].name, videos[1].path)
    outcome = run([other], tmp_path)[other.name]
    assert not outcome.features
    assert outcome.problem.startswith(f"{other.path}: has the same name as {videos[0].path};")


def test_a_video_with_too_long_a_name_is_skipped(videos: list[Listed], tmp_path: Path) -> None:
    long = Listed("x" * 300, videos[0].path)
    outcomes = run([long, *videos], tmp_path)
    assert "can't be written (File name too long)" in outcomes[long.name].problem
    assert sum(outcome.features > 0 for outcome in outcomes.values()) == len(videos)


def test_the_longest_possible_name_is_written(videos: list[Listed], tmp_path: Path) -> None:
    long = Listed("x" * 251, videos[0].path)
    assert run([long], tmp_path)[long.name].features == 1


def test_a_full_disk_is_reported_and_keeps_earlier_features(
    videos: list[Listed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk behaves like /dev/full, which loses what is written."""
    write_whole = disk.write_whole
    written: list[Path] = []

    def write(path: Path, data: str | bytes, writer: str = "") -> None:
        if path.suffix == ".npy":
            written.append(path)
            if len(written) == 3:
                disk.unfinished(path, writer).symlink_to("/dev/full")
        write_whole(path, data, writer)

    monkeypatch.setattr(feature_folder, "write_whole", write)
    with pytest.raises(UserError) as error:
        run(videos, tmp_path)
    assert str(error.value) == (
        f"{written[2]}: can't be written (No space left on device); earlier features are kept; "
        "run the same command to continue"
    )
    kept = {path for path in tmp_path.rglob("*.npy")}
    assert kept == set(written[:2]) and not list(tmp_path.rglob(".*.tmp"))
    before = {path: path.stat().st_mtime_ns for path in kept}
    monkeypatch.undo()
    assert all(outcome.features for outcome in run(videos, tmp_path).values())
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    for video in videos:
        expected = extract(video.path, Brightness())
        np.testing.assert_array_equal(np.load(tmp_path / f"{video.name}.npy"), expected)


def test_an_unwritable_log_is_reported(videos: list[Listed], tmp_path: Path) -> None:
    log = Path("/dev/full")
    with pytest.raises(UserError, match="/dev/full: can't be written .No space left on device.; "):
        list(extraction.extract(videos[:1], Brightness(), tmp_path, log, 1))


def test_a_folder_that_cannot_be_made_is_reported(videos: list[Listed], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    with pytest.raises(UserError, match="features.json: can't be written .Not a directory.; "):
        run(videos[:1], out)


@pytest.mark.parametrize("rows", [0, 2])
def test_an_extractor_must_give_a_row_per_window(
    videos: list[Listed], tmp_path: Path, rows: int
) -> None:
    class Other(Brightness):
        def __call__(self, frames: np.ndarray) -> np.ndarray:
            return np.ones((rows * len(frames), self.size), np.float32)

    with pytest.raises(UserError, match=rf"brightness: gives \({3 * rows}, 2\) for 3 windows"):
        run(videos, tmp_path, Other())


def test_rows_do_not_keep_their_batch_in_memory(videos: list[Listed]) -> None:
    class Corner(Brightness):
        def __call__(self, frames: np.ndarray) -> np.ndarray:
            return frames[:, 0, 0, 0, :2].astype(np.float32)

    window = np.zeros(Brightness().window.shape, np.uint8)
    events: list[extraction.Event] = [(videos[0], window), (videos[0], None)]
    ((_, (row,), _),) = extraction.embedded(events, Corner())
    assert row.base is None


def test_problems_are_printable_on_one_line() -> None:
    text = feature_folder.printable("a\nb\udce9\x1b é")
    assert text == "a\\nb\\udce9\\x1b é"


def test_a_skipped_video_is_tried_again(videos: list[Listed], tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    listed = [Listed("a", tmp_path / "a.mp4"), *videos]
    outcome = run(listed, tmp_path / "out")["a"]
    assert outcome.features == 0 and outcome.problem.startswith(f"{tmp_path / 'a.mp4'}: ")
    (tmp_path / "a.mp4").write_bytes(videos[0].path.read_bytes())
    assert run(listed, tmp_path / "out")["a"] == Outcome("a", str(tmp_path / "a.mp4"), 1)


def test_only_the_first_of_two_videos_with_one_name_is_extracted(
    videos: list[Listed], tmp_path: Path
) -> None:
    twin = Listed(videos[0].name, videos[3].path)
    outcomes = extraction.extract_all(
        [*videos, twin], Brightness(), tmp_path, tmp_path / "extracted.jsonl", 2
    )
    (skipped,) = (outcome for outcome in outcomes if not outcome.features)
    assert (
        skipped.problem == f"{twin.path}: has the same name as {videos[0].path}; rename one of them"
    )
    assert len(np.load(tmp_path / f"{twin.name}.npy")) == 1


def test_non_finite_features_skip_only_their_video(videos: list[Listed], tmp_path: Path) -> None:
    class Sensitive(Brightness):
        def __call__(self, frames: np.ndarray) -> np.ndarray:
            features = super().__call__(frames)
            return np.where(features > 0.7, np.nan, features)

    outcomes = run(videos, tmp_path, Sensitive())
    skipped = [outcome for outcome in outcomes.values() if not outcome.features]
    assert [outcome.video for outcome in skipped] == [videos[3].name]
    assert "brightness: features of row 0 are not finite" in skipped[0].problem
    assert not (tmp_path / f"{videos[3].name}.npy").exists()


def test_a_failing_extractor_ends_the_run(videos: list[Listed], tmp_path: Path) -> None:
    class Failing(Brightness):
        def __call__(self, frames: np.ndarray) -> np.ndarray:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(videos, tmp_path, Failing())


def test_a_folder_has_features_of_one_extractor(videos: list[Listed], tmp_path: Path) -> None:
    run(videos[:1], tmp_path)
    card = json.loads((tmp_path / "features.json").read_text())
    assert card["feature_extractor"] == "brightness"
    assert (card["feature_size"], card["seconds_per_feature"]) == (2, 1.0)
    for other, field in (
        (Brightness(name="other"), "feature_extractor 'brightness'"),
        (Brightness(size=3), "feature_size 2"),
        (Brightness(window=Window(8, 16, 32)), "seconds_per_feature 1.0"),
    ):
        with pytest.raises(UserError, match=f"features.json: its features have {field}"):
            run(videos, tmp_path, other)


def test_nothing_is_added_to_features_of_unknown_origin(
    videos: list[Listed], tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    np.save(tmp_path / "deep/a.npy", np.zeros((3, 2)))
    with pytest.raises(UserError, match="has .npy files but no features.json"):
        run(videos, tmp_path)


def test_the_summary_lists_problems() -> None:
    outcomes = [
        Outcome("a", "a.mp4", 3),
        Outcome("b", "b.mp4", 2, "b.mp4: damaged after 2 s"),
        *(Outcome(f"c{i}", f"c{i}.mp4", 0, f"c{i}.mp4: no video stream") for i in range(25)),
    ]
    lines = list(feature_folder.summary(outcomes, 30, Path("out")))
    assert lines[0] == "5 of 30 videos have features in out"
    assert lines[1:4] == [
        "damaged, with features of the parts that can be decoded: 1",
        "  b.mp4: damaged after 2 s",
        "skipped: 25",
    ]
    assert lines[-2:] == ["  … and 5 more", "Outcome of each: out/extracted*.jsonl"]
