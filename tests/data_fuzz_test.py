"""Damaged files of any format give an error of one line or counted skips, never bad records.

A failure names its data set, file, mutation and seed. `--fuzz-seed=SEED --fuzz-mutations=1`
repeats it.
"""

import contextlib
import json
import pickle
import re
import resource
import shutil
import signal
import warnings
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import av
import jax
import mutation
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tokenizers_test import TOKENIZERS
from toy import Toy

from data.activitynet.activitynet_dataset_builder import Builder as ActivityNet
from data.charades_sta.charades_sta_dataset_builder import Builder as CharadesSTA
from data.coin.coin_dataset_builder import Builder as Coin
from data.crosstask.crosstask_dataset_builder import Builder as CrossTask
from data.didemo.didemo_dataset_builder import Builder as DiDeMo
from data.folder.folder_dataset_builder import Builder as Folder
from data.howto100m.howto100m_dataset_builder import Builder as HowTo100M
from data.msrvtt.msrvtt_dataset_builder import Builder as MSRVTT
from data.qvhighlights.qvhighlights_dataset_builder import Builder as QVHighlights
from data.youcook2.youcook2_dataset_builder import Builder as YouCook2
from vtmask import tokenizers
from vtmask.datasets.builder import VideoTextBuilder
from vtmask.datasets.entries import Moments, TimedTexts, Video
from vtmask.datasets.making import RecordMaker, once_each
from vtmask.datasets.report import Counts
from vtmask.errors import UserError
from vtmask.inputs import samplers
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import TrainingBatches
from vtmask.models import VLMConfig
from vtmask.tokenizers import Tokenizer

CAPTIONS = {
    "start": [0.5, 2, 4],
    "end": [2.5, 4, 9.5],
    "text": ["cut it", "cut it up", "now é fry"],
}
IDS = ("a", "b", "c", "d")
HANGS = 120  # seconds
MEMORY = 2**20  # KiB that a damaged file may take


@dataclass(frozen=True)
class Fuzz:
    """Mutations of files, with seeds starting at `seed`."""

    seed: int
    mutations: int

    def damage(self, paths: Sequence[Path], folder: Path) -> Iterator[tuple[Path, bytes, str]]:
        """Damages one file at a time; yields the file, its valid content and a label."""
        contents = [path.read_bytes() for path in paths]
        for seed in range(self.seed, self.seed + self.mutations):
            rng = np.random.default_rng(seed)
            which = int(rng.integers(len(paths)))
            path = paths[which]
            kind, damaged = mutation.mutate(rng, path.suffix, contents, which)
            path.write_bytes(damaged)
            yield path, contents[which], f"{path.relative_to(folder)}, {kind}, seed {seed}"
            path.write_bytes(contents[which])


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    option = request.config.getoption
    return Fuzz(option("--fuzz-seed"), option("--fuzz-mutations"))


@contextlib.contextmanager
def guarded(where: str) -> Iterator[None]:
    """Turns any failure, including a hang, into an AssertionError that says where it happened."""

    def hang(*_: Any) -> None:
        raise TimeoutError

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, hang)
    signal.alarm(HANGS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged videos that still have features
            warnings.simplefilter("error", RuntimeWarning)  # from NumPy, about NaN and overflow
            yield
    except Exception as error:
        raise AssertionError(f"{where}: {error!r:.400}") from error
    finally:
        signal.alarm(0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + MEMORY, where


def features(folder: Path, names: tuple[str, ...] = IDS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        values = np.random.default_rng(number).standard_normal((10, 512))
        np.save(folder / f"{name}.npy", values.astype((np.float16, np.float32)[number % 2]))


def howto100m(folder: Path) -> None:
    features(folder / "features")
    (folder / "how2_s3d_train.lst").write_text("a\nb\nc\n")
    (folder / "how2_s3d_val.lst").write_text("d\n")
    captions = {name: CAPTIONS for name in IDS}
    (folder / "raw_caption.json").write_text(json.dumps(captions))
    texts = {name: json.dumps(CAPTIONS) for name in IDS}
    (folder / "raw_caption.pkl").write_bytes(pickle.dumps(texts))
    (folder / "raw_caption_dedup.pkl").write_bytes(pickle.dumps(captions))


def shards(folder: Path) -> None:
    (folder / "how2_s3d_train.lst").write_text("a\nb\n")
    (folder / "how2_s3d_val.lst").write_text("c\nd\n")
    for split, names in {"train": ["a", "b"], "val": ["c", "d"]}.items():
        (folder / f"{split}_meta.pkl").write_bytes(pickle.dumps({0: names}))
        ids = np.full((6, 32), -1)
        ids[:, :4] = np.arange(24).reshape(6, 4) % 5 + 1
        times = np.arange(6)[:, None] % 3 + np.array([0.5, 1.25])
        captions = f"raw_caption_dedup.bert-base-uncased.{split}_0"
        arrays = {
            f"{split}_0": (np.ones((20, 512), np.float16), [0, 10, 20]),
            f"{captions}.caps_ids": (ids, [0, 3, 6]),
            f"{captions}.startends": (times, [0, 3, 6]),
        }
        for name, (data, starts) in arrays.items():
            np.save(folder / f"{name}_data.npy", data)
            np.save(folder / f"{name}_starts.npy", np.array(starts))


def msrvtt(folder: Path) -> None:
    names = ("video0", "video1", "video7010", "video7011")
    features(folder / "features", names)
    sentences = [{"video_id": v, "caption": f"a man {i}"} for i in range(3) for v in names]
    (folder / "MSRVTT_data.json").write_text(json.dumps({"sentences": sentences}))
    (folder / "MSRVTT_train.csv").write_text("video_id\nvideo0\nvideo1\n")
    (folder / "MSRVTT_FULL_test.csv").write_text("video_id\nvideo7010\nvideo7011\n")
    (folder / "MSRVTT_JSFUSION_test.csv").write_text(
        "key,vid_key,video_id,sentence\nret0,msr7010,video7010,a car is driving\n"
    )
    (folder / "MSR_MC_test.csv").write_text(
        "\tvid_key\ta1\ta2\ta3\ta4\ta5\tanswer\n"
        "0\tmsr7010\ta\tb\tc\td\te\t1\n1\tmsr7011\tb\tc\td\te\tf\t4\n"
    )


def youcook2(folder: Path) -> None:
    features(folder / "features")
    clip = {"segment": [1, 4], "id": 0, "sentence": "cut the onions"}
    database = {
        name: {
            "subset": "validation" if name == "d" else "training",
            "recipe_type": "113",
            "annotations": [clip, clip | {"segment": [5, 12.5], "id": 1}],
        }
        for name in IDS
    }
    path = folder / "youcookii_annotations_trainval.json"
    path.write_text(json.dumps({"database": database}))
    for split, names in {"train": "abc", "val": "d"}.items():
        rows = [{"id": f"{n}_{i}", "caption": "cut onions"} for n in names for i in range(2)]
        for row in rows:
            row["2d"] = np.ones(3, np.float32)  # type: ignore[assignment]
        (folder / f"youcook_{split}.pkl").write_bytes(pickle.dumps(rows))


def youcook2_lists(folder: Path) -> None:
    youcook2(folder)
    (folder / "splits").mkdir()
    (folder / "splits/train_list.txt").write_text("113/a\n113/b\n")
    (folder / "splits/val_list.txt").write_text("113/c\n226/d\n")


def coin(folder: Path) -> None:
    features(folder / "features")
    database = {
        name: {
            "subset": "testing" if name == "d" else "training",
            "class": "ChangeTire",
            "annotation": [
                {"id": str(i), "label": f"step {i}", "segment": [2.0 * i, 2.0 * i + 3]}
                for i in (1, 2, 3)
            ],
        }
        for name in IDS
    }
    (folder / "COIN.json").write_text(json.dumps({"database": database}))


def crosstask(folder: Path) -> None:
    features(folder / "features")
    release = folder / "crosstask_release"
    (release / "annotations").mkdir(parents=True)
    (release / "tasks_primary.txt").write_text("1\nMake It\nhttps://a\n2\ncut it,fry it\n\n")
    (release / "tasks_related.txt").write_text("2\nMend It\nhttps://b\n1\nmend it\n\n")
    (release / "videos.csv").write_text("1,a,https://a\n1,b,https://b\n2,c,https://c\n")
    (release / "videos_val.csv").write_text("1,d,https://d\n")
    for name in ("1_a", "1_b", "2_c", "1_d"):
        (release / "annotations" / f"{name}.csv").write_text("1,0.5,3.25\n1,4.0,8.0\n")


def didemo(folder: Path) -> None:
    features(folder / "features")
    items = [
        {
            "video": f"{name}.mp4",
            "description": "a dog runs",
            "times": [[0, 1], [1, 1]],
            "num_segments": 2,
            "annotation_id": i,
        }
        for i, name in enumerate(IDS)
    ]
    (folder / "train_data.json").write_text(json.dumps(items[:2]))
    (folder / "test_data.json").write_text(json.dumps(items[2:]))


def activitynet(folder: Path) -> None:
    features(folder / "features")
    record = {"duration": 10, "timestamps": [[0, 4], [3.5, 9]], "sentences": ["a dog", " it runs"]}
    (folder / "train.json").write_text(json.dumps(dict.fromkeys("abc", record)))
    (folder / "val_1.json").write_text(json.dumps({"d": record}))


def charades_sta(folder: Path) -> None:
    features(folder / "features")
    lines = [f"{name} {i}.5 {i + 3}##a dog runs {i}." for i in range(3) for name in "abc"]
    (folder / "charades_sta_train.txt").write_text("".join(line + "\n" for line in lines))
    (folder / "charades_sta_test.txt").write_text("d 0 5##a cat.\n")


def qvhighlights(folder: Path) -> None:
    features(folder / "features")
    for number, (name, videos) in enumerate({"train_release": "abca", "val_release": "d"}.items()):
        lines = [
            {
                "qid": 10 * number + i,
                "query": "a dog",
                "vid": v,
                "relevant_windows": [[0, 2], [4, 8]],
            }
            for i, v in enumerate(videos)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"highlight_{name}.jsonl").write_text(text)


def folder_of_videos(folder: Path) -> None:
    features(folder / "train", ("a", "b"))
    (folder / "train/a.srt").write_text("1\n00:00:01,000 --> 00:00:02,500\ncut <i>it</i>\n\n")
    (folder / "train/b.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.500\ncut it\n")
    (folder / "train/c.json").write_text(json.dumps([{"start": 0, "end": 1, "text": "é"}]))
    (folder / "train/c.txt").write_text("a film\nof c\n")
    with av.open(str(folder / "train/c.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 48
        for i in range(16):
            image = np.full((48, 48, 3), 10 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())


def in_database(valid: str, changed: str) -> set[str]:
    return set(json.loads(changed)["database"])


def by_id(valid: str, changed: str) -> set[str]:
    return set(json.loads(changed))


def in_lines(valid: str, changed: str) -> set[str]:
    """Returns the videos of unchanged lines, which are JSON or begin with the video."""
    same = set(valid.splitlines()) & set(changed.splitlines())
    return {json.loads(line)["vid"] if line[0] == "{" else line.split()[0] for line in same}


def in_items(valid: str, changed: str) -> set[str]:
    return {item["video"].rsplit(".", 1)[0] for item in json.loads(changed)}


def in_rows(valid: str, changed: str, name: str, first: int = 1) -> set[str]:
    """Returns the videos of unchanged rows; `name` is a format of a row's fields."""
    if valid.count('"') != changed.count('"'):
        return set()  # a quote may swallow rows
    rows = set(_rows(changed))
    names = [name.format(*row) for row in _rows(valid)[first:] if row in rows]
    return {name.replace("msr", "video") for name in names}  # MSR-VTT's questions abbreviate names


def _rows(text: str) -> list[tuple[str, ...]]:
    lines = [re.split("[,;\t]", line) for line in text.splitlines()]
    return [tuple(field.strip() for field in line) for line in lines]


def annotated(valid: str, changed: str) -> set[str]:
    """Returns all videos: an annotated one is in a record or skipped even if no list has it."""
    return set(IDS)


@dataclass(frozen=True)
class Case:
    """A data set of a few videos. If nothing is damaged, all of them have a record.

    Attributes:
      per_video: patterns of files of one video. Damage to them affects only it, and ends no build.
      lists: pattern of files that list videos → a function of the valid and the changed text that
        returns the videos that the changed text certainly lists.
      tokenizer: its file is put beside the others; if None, the build trains one on their texts.
    """

    write: Callable[[Path], None]
    builder: type[VideoTextBuilder]
    configs: tuple[str, ...] = ("default",)
    per_video: tuple[str, ...] = ("features/*",)
    lists: Mapping[str, Callable[[str, str], set[str]]] = field(default_factory=dict)
    tokenizer: Tokenizer | None = TOKENIZERS[0]


CASES = {
    "howto100m": Case(
        howto100m,
        HowTo100M,
        ("default", "pickle", "deduplicated"),
        lists={"*.lst": partial(in_rows, name="{}", first=0)},
    ),
    "shards": Case(
        shards,
        HowTo100M,
        ("shards",),
        per_video=(),
        lists={"*.lst": partial(in_rows, name="{}", first=0)},
        tokenizer=TOKENIZERS[1],
    ),
    "msrvtt": Case(
        msrvtt,
        MSRVTT,
        ("1k-a", "full", "multiple-choice"),
        lists={
            "MSRVTT_JSFUSION_test.csv": partial(in_rows, name="{2}"),
            "MSRVTT_*.csv": partial(in_rows, name="{0}"),
            "MSR_MC_test.csv": partial(in_rows, name="{1}"),
        },
        tokenizer=TOKENIZERS[1],
    ),
    "youcook2": Case(
        youcook2,
        YouCook2,
        ("default", "howto100m-pickles", "howto100m-pickles-captions"),
        lists={"*.json": in_database, "*.pkl": annotated},
    ),
    "youcook2-lists": Case(
        youcook2_lists, YouCook2, lists={"*.json": in_database, "*.txt": annotated}
    ),
    "coin": Case(coin, Coin, lists={"*.json": in_database}, tokenizer=None),
    "crosstask": Case(
        crosstask,
        CrossTask,
        per_video=("features/*", "annotations/*"),
        lists={"videos*.csv": partial(in_rows, name="{0}_{1}", first=0)},
        tokenizer=TOKENIZERS[1],
    ),
    "didemo": Case(didemo, DiDeMo, lists={"*.json": in_items}),
    "activitynet": Case(activitynet, ActivityNet, lists={"*.json": by_id}),
    "charades_sta": Case(charades_sta, CharadesSTA, lists={"*.txt": in_lines}),
    "qvhighlights": Case(qvhighlights, QVHighlights, lists={"*.jsonl": in_lines}),
    "folder": Case(folder_of_videos, Folder, per_video=("train/*",)),
}
Place = tuple[str, str]  # split and video


@dataclass
class Outcome:
    """The outcome of a build: serialised records, and skipped videos."""

    records: dict[Place, bytes] = field(default_factory=dict)
    skipped: set[Place] = field(default_factory=set)

    @property
    def places(self) -> set[Place]:
        return self.records.keys() | self.skipped


@pytest.mark.parametrize("name", CASES)
def test_damaged_files_of_a_data_set(name: str, fuzz: Fuzz, tmp_path: Path) -> None:
    case = CASES[name]
    manual = tmp_path / "manual"
    manual.mkdir()
    case.write(manual)
    if case.tokenizer is not None:
        case.tokenizer.save(manual)
    builders = [case.builder(config=config, data_dir=tmp_path / "data") for config in case.configs]
    valid = [outcome(builder, manual) for builder in builders]
    assert all(len(expected.records) >= 3 and not expected.skipped for expected in valid)
    seen: Counter[str] = Counter()
    paths = sorted(path for path in manual.rglob("*") if path.is_file())
    for path, data, where in fuzz.damage(paths, manual):
        for builder, expected in zip(builders, valid, strict=True):
            with guarded(f"{name}, {builder.builder_config.name}: {where}"):
                try:
                    actual = outcome(builder, manual)
                except UserError as error:
                    check_error(error, manual)
                    assert not any(map(path.match, case.per_video)), error
                    seen["refused"] += 1
                else:
                    check_places(case, path, data, actual, expected)
                    seen["skipped" if actual.skipped else "built"] += 1
    assert len(seen) == 3 or fuzz.mutations < 100, seen


def outcome(builder: VideoTextBuilder, manual: Path) -> Outcome:
    """Returns what a build would write; checks each record."""
    tokenizer, config = builder._tokenizer(manual), builder.builder_config
    maker = RecordMaker(tokenizer, config.feature_size, 1.0, config.deduplicate, config.seed)
    result = Outcome()
    for split, entries in builder.splits(manual).items():
        for entry in once_each(entries):
            place = split, entry.video_id
            example, counts = maker(entry)
            if example is None:
                [(video_id, reason)] = counts.skipped
                assert video_id == entry.video_id and reason and "\n" not in reason
                reason.encode()
                result.skipped.add(place)
                continue
            _, record = example
            assert isinstance(entry, Video)
            check_record(record, tokenizer.vocab_size, builder.info.metadata)
            check_counts(entry, record, counts)
            serialized = builder.info.features.serialize_example(record)
            read = builder.info.features.deserialize_example_np(serialized)
            assert read["video_id"].decode() == entry.video_id
            result.records[place] = serialized
        {video_id.encode() for _, video_id in result.places}
    return result


def check_record(record: dict[str, Any], vocab_size: int, metadata: Mapping[str, Any]) -> None:
    values = record["features"]
    seconds = len(values)
    assert values.dtype == np.float16 and values.shape == (seconds, 512) and seconds
    assert np.isfinite(values).all()
    for texts in (value for value in record.values() if isinstance(value, dict)):
        tokens = texts["tokens"]
        assert len(texts["text"]) == len(texts["num_tokens"])
        assert len(tokens) == texts["num_tokens"].sum()
        assert ((tokens >= 0) & (tokens < vocab_size)).all()
        if "start" in texts:
            start, end = texts["start"], texts["end"]
            assert len(start) == len(end) == len(texts["text"]) and (np.diff(start) >= 0).all()
            assert ((start >= 0) & (end >= start) & (end <= seconds)).all()
    classes = len(metadata.get("class_names", ()))
    if "step_texts" in record:
        classes = len(record["step_texts"]["text"]) + 1
    if "steps" in record:
        label = record["steps"]["label"]
        assert len(label) == len(record["steps"]["text"])
        assert ((label > 0) & (label < classes)).all()
    if "labels" in record:
        assert record["labels"].shape == (seconds,)
        assert ((record["labels"] >= 0) & (record["labels"] < classes)).all()
    if "choices" in record:
        choices = record["choices"]
        assert choices["correct"] in (range(5) if choices["text"] else [-1])
    if "moments" in record:
        moments = record["moments"]
        if "windows" in moments:
            windows = moments["windows"]
            assert len(moments["num_windows"]) == len(moments["text"])
            assert windows.shape == (moments["num_windows"].sum(), 2)
            assert (windows[:, 0] < windows[:, 1]).all() and np.isfinite(windows).all()
            return
        times, counts = moments["times"], moments["num_segments"]
        assert len(counts) == len(moments["text"]) and ((counts >= 1) & (counts <= 6)).all()
        assert len(times) == moments["num_times"].sum()
        count = np.repeat(counts, moments["num_times"])
        assert ((times[:, 0] >= 0) & (times[:, 0] <= times[:, 1]) & (times[:, 1] < count)).all()


def check_counts(video: Video, record: dict[str, Any], counts: Counts) -> None:
    """Checks that every text is in the record or counted as dropped."""
    timed = {name: a for name, a in video.annotations.items() if isinstance(a, TimedTexts)}
    given = len(video.descriptions) + sum(len(a.lines) for a in [video.captions, *timed.values()])
    kept = sum(len(record[name]["text"]) for name in ["descriptions", *timed])
    kept += counts.before.figures["captions"].total // 10**6
    building = counts.problems - video.problems  # without problems in reading its files
    problems = {p: n for p, n in building.items() if " cut at " not in p}
    of_moments = {problem: n for problem, n in problems.items() if "moment" in problem}
    assert given == kept + sum(problems.values()) - sum(of_moments.values())
    moments = video.annotations.get("moments")
    if isinstance(moments, Moments) and "empty sentence of a moment" not in of_moments:
        windows = sum(map(len, moments.windows))
        assert windows == len(record["moments"]["windows"]) + sum(of_moments.values())


def check_error(error: UserError, folder: Path) -> None:
    """Checks that the error is one printable line that names a file."""
    message = str(error)
    message.encode()
    assert "\n" not in message and str(folder) in message, message


def check_places(case: Case, path: Path, data: bytes, actual: Outcome, expected: Outcome) -> None:
    """Checks that no listed video is lost, and that a video's own files affect no other video."""
    listed = next((f for pattern, f in case.lists.items() if path.match(pattern)), None)
    if listed is None:
        assert actual.places == expected.places
    else:
        names = {video_id for _, video_id in actual.places}
        assert names >= listed(_text(data), _text(path.read_bytes()))
    if any(map(path.match, case.per_video)):
        others = {place for place in expected.places if not place[1].endswith(path.stem)}
        assert others and not others & actual.skipped
        assert all(actual.records[place] == expected.records[place] for place in others)


def _text(data: bytes) -> str:
    """Returns the file's text, or "" if it can't be decoded, which its reader must detect."""
    try:
        return data.decode("utf-16" if data[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig")
    except UnicodeDecodeError:
        return ""


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.file_name)
def test_damaged_tokenizers(tokenizer: Tokenizer, fuzz: Fuzz, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    for path, _, where in fuzz.damage([tmp_path / tokenizer.file_name], tmp_path):
        with guarded(where):
            try:
                read = tokenizers.load(path)
            except UserError as error:
                check_error(error, path)
                continue
            for ids in read.encode(["cut the onion", "é 漢字 \x00"]):
                assert all(0 <= i < read.vocab_size for i in ids)
                read.decode(ids).encode()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds a TFDS data folder with a small data set that has every kind of field."""
    manual, out = (tmp_path_factory.mktemp(name) for name in ("manual", "data"))
    (manual / "features").mkdir()
    for split in ("train", "test"):
        sentences = [[1.0, 2.5, "take the onion"], [4.0, 6.0, "now chop it"]]
        annotated = {f"{split}{i}": sentences for i in range(6)}
        (manual / f"{split}.json").write_text(json.dumps(annotated))
        for number, name in enumerate(annotated):
            np.save(manual / f"features/{name}.npy", np.full((9 + number, 4), number, np.float32))
    config = tfds.download.DownloadConfig(manual_dir=manual)
    Toy(data_dir=out).download_and_prepare(download_config=config)
    return out


def read_all(data_dir: Path) -> Any:
    """Reads all records of a split and some batches."""
    dataset = Dataset("toy/default", "train", str(data_dir))
    every = [dataset[i] for i in range(dataset.num_records)]
    sampler = samplers.CaptionWindows(VLMConfig(feature_size=4), clips_per_record=2)
    return [every, list(islice(TrainingBatches([dataset], sampler, 4, 0).from_step(0), 3))]


def common(value: Any, other: Any) -> Any:
    """Removes fields that the other value lacks because features.json has lost them."""
    if isinstance(value, dict):
        return {key: common(value[key], other[key]) for key in other}
    if isinstance(value, list) and len(value) == len(other):
        return [common(*pair) for pair in zip(value, other, strict=True)]
    return value


def test_damaged_files_of_a_prepared_data_set(built: Path, fuzz: Fuzz, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    folder = next(tmp_path.rglob("dataset_info.json")).parent
    paths = [*folder.glob("*train.array*"), *folder.glob("*.json"), folder / "tokenizer.model"]
    paths = [path for path in paths if path.name != "build_report.json"]
    expected = read_all(tmp_path)
    refused = set()
    for path, _, where in fuzz.damage(paths, folder):
        with guarded(where):
            try:
                actual = read_all(tmp_path)
            except UserError as error:
                check_error(error, tmp_path)
                refused.add(path)
            else:
                jax.tree.map(np.testing.assert_array_equal, actual, common(expected, actual))
    assert len(refused) == len(paths) or fuzz.mutations < 100, refused
