import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import tensorflow_datasets as tfds
from features import videos as made
from pyarrow import parquet

from data import build as command
from data.manifest.manifest_dataset_builder import Builder, ManifestConfig
from vtmask.datasets.entries import FeatureFile, Video, VideoFile
from vtmask.errors import UserError
from vtmask.inputs.dataset import Dataset

TIMED: dict[str, Any] = {"video": "id", "text": "caption", "start": "from", "end": "to"}
ROWS = [
    ("b", "stir it", 4.5, "6", "train", 0.5, None),
    ("a", "cut the onion", 0, "0:00:02.500", "train", 1.0, ["x", "y"]),
    ("b", "chop it", 1, "00:03", "train", 0.25, ["é"]),
    ("c", "serve it", 0, "9", "test", 2.0, []),
    ("b", " ", 1, "2", "train", 3.0, None),
    ("b", "no time", 1, "soon", "train", 3.0, None),
    ("gone", "no features", 1, "2", "train", 3.0, None),
]
COLUMNS = ("id", "caption", "from", "to", "part", "score", "tags")


def write(folder: Path, suffix: str) -> None:
    """Writes the rows to two tables, and features of three videos."""
    (folder / "features").mkdir(parents=True)
    for number, name in enumerate("abc"):
        np.save(folder / f"features/{name}.npy", np.full((10, 4), number, np.float16))
    for name, rows in {"one": ROWS[:2], "two": ROWS[2:]}.items():
        write_table(folder / f"{name}{suffix}", [dict(zip(COLUMNS, r, strict=True)) for r in rows])


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        lines = [list(rows[0]), *(list(row.values()) for row in rows)]
        cells = [["" if v is None else _quoted(v) for v in line] for line in lines]
        path.write_text("".join(delimiter.join(line) + "\n" for line in cells))


def _quoted(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return '"' + text.replace('"', '""') + '"'


def build(manual: Path, out: Path, *, beam: bool = False, **fields: Any) -> Builder:
    options = {}
    if beam:
        module = pytest.importorskip("apache_beam.options.pipeline_options")
        options["beam_options"] = module.PipelineOptions()
    config = ManifestConfig(name="mine", feature_size=4, vocab_size=40, **fields)
    builder = Builder(config=config, data_dir=out)
    download = tfds.download.DownloadConfig(manual_dir=manual, **options)
    builder.download_and_prepare(download_config=download)
    return builder


def records(out: Path, split: str) -> dict[str, Any]:
    dataset = Dataset("manifest/mine", split, str(out))
    return {r["video_id"]: r for r in (dataset[i] for i in range(dataset.num_records))}


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_rows_of_a_video_are_gathered_from_all_tables(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "manual", suffix)
    extra = ("score", "tags")
    builder = build(tmp_path / "manual", tmp_path, split="part", extra=extra, **TIMED)
    train, test = records(tmp_path, "train"), records(tmp_path, "test")
    assert (sorted(train), sorted(test)) == (["a", "b"], ["c"])
    captions = train["b"]["captions"]
    assert captions["text"] == ["chop it", "stir it"]
    assert captions["start"].tolist() == [1, 4.5] and captions["end"].tolist() == [3, 6]
    assert [float(score) for score in captions["score"]] == [0.25, 0.5]
    assert captions["tags"] == ['["é"]', ""]
    assert train["a"]["captions"]["end"].tolist() == [2.5]
    assert (train["b"]["features"] == 1).all()
    assert all(record["descriptions"]["text"] == [] for record in train.values())
    report = json.loads((Path(builder.data_path) / "build_report.json").read_text())["train"]
    assert report["dropped_or_cut"] == {"caption without finite times": 1, "empty caption": 1}
    assert [video["video_id"] for video in report["skipped"]] == ["gone"]


def test_beam_writes_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "manual", ".parquet")
    folders = [
        Path(build(tmp_path / "manual", tmp_path / name, beam=name == "beam", **TIMED).data_path)
        for name in ("alone", "beam")
    ]
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert names[0] == names[1]
    for name in names[0]:
        assert len({(folder / name).read_bytes() for folder in folders}) == 1, name


def test_texts_without_times_become_descriptions(tmp_path: Path) -> None:
    manual = tmp_path / "manual"
    write(manual, ".csv")
    build(manual, tmp_path, tables="t*.csv", video="id", text="caption", extra=["score"])
    actual = records(tmp_path, "train")
    assert sorted(actual) == ["b", "c"]
    described = actual["b"]["descriptions"]
    assert described["text"] == ["chop it", "no time"] and described["score"] == ["0.25", "3.0"]
    assert actual["b"]["captions"]["text"] == []


def test_a_video_may_be_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features/b.npy", np.ones((3, 4), np.float16))
    for name in ("a", "b"):
        made.write(tmp_path / f"{name}.mp4", made.greys([0.5]), rate=1)
    rows = [{"video": name, "text": "x"} for name in ("a.mp4", "b.mp4", "b.npy", "c.mp4", "v1.2")]
    write_table(tmp_path / "x.jsonl", rows)
    config = ManifestConfig(name="mine", feature_extractor="pixel-statistics-v1")
    entries = list(Builder(config=config, data_dir=tmp_path / "data").splits(tmp_path)["train"])
    videos = [entry for entry in entries if isinstance(entry, Video)]
    actual = sorted((v.video_id, v.file, str(v.features)) for v in videos)
    array = tmp_path / "features"
    assert actual == sorted(
        (video_id, str(tmp_path / file) if file else "", str(source))
        for video_id, file, source in [
            ("a", "a.mp4", VideoFile(tmp_path / "a.mp4", "pixel-statistics-v1")),
            ("b", "b.mp4", FeatureFile(array / "b.npy")),
            ("b", "", FeatureFile(array / "b.npy")),
            ("c", "", FeatureFile(array / "c.npy")),
            ("v1.2", "", FeatureFile(array / "v1.2.npy")),
        ]
    )


def test_a_table_may_have_the_name_of_its_video(tmp_path: Path) -> None:
    """The layout is that of HowTo100M's captions, whose first column has no name."""
    manual = tmp_path / "manual"
    write(manual, ".parquet")
    for path in manual.glob("*.parquet"):
        path.unlink()
    for name in "ab":
        (manual / f"{name}.csv").write_text(f",start,end,text\n0,1.5,3,this is {name}\n1,4,5,oh\n")
    build(manual, tmp_path, video="", start="start", end="end")
    actual = records(tmp_path, "train")
    assert {name: r["captions"]["text"] for name, r in actual.items()} == {
        "a": ["this is a", "oh"],
        "b": ["this is b", "oh"],
    }


def test_columns_are_named_on_the_command_line() -> None:
    fields = {"name": "internvid", "video": "YoutubeID", "text": "Caption", "extra": ["UMT_Score"]}
    config = command._config(json.dumps(fields), Builder)
    assert isinstance(config, ManifestConfig)
    assert config.columns == ["YoutubeID", "Caption", "UMT_Score"]
    with pytest.raises(UserError, match="'text' is int, expected str"):
        command._config(json.dumps(fields | {"text": 3}), Builder)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"start": "from"}, "fields 'start' and 'end' go together"),
        ({"extra": "score"}, "field 'extra' is not a list of columns"),
        ({"extra": ["text"]}, "expected other columns than those of"),
        ({"extra": ["a b"]}, "expected other columns than those of"),
        ({"extra": ["a", "a"]}, "expected other columns than those of"),
        ({"extra": ["a"], "deduplicate": True}, "can't be combined with 'deduplicate'"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        ManifestConfig(name="mine", **fields)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, suffix: str) -> None:
    def splits(**fields: Any) -> Any:
        builder = Builder(config=ManifestConfig(name="mine", **fields), data_dir=tmp_path / "data")
        return {split: list(entries) for split, entries in builder.splits(tmp_path).items()}

    with pytest.raises(UserError, match="has no table"):
        splits()
    path = tmp_path / f"x{suffix}"
    write_table(path, [{"video": "a", "text": "b", "part": "one two"}])
    with pytest.raises(UserError, match="column 'part' has 'one two', expected a split's name"):
        splits(split="part")
    if suffix != ".jsonl":
        with pytest.raises(UserError, match=f"x{suffix}: has no column 'id'; it has 'video', "):
            splits(video="id")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=f"{path}: "):
        splits(split="part")
