"""Damaged files of every format end in one clear line or in counted skips, never in bad records."""

import json
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import tensorflow_datasets as tfds
from building.toy import Toy
from tokenizers_test import TOKENIZERS

from data.coin.coin_dataset_builder import Builder as Coin
from data.crosstask.crosstask_dataset_builder import Builder as CrossTask
from data.didemo.didemo_dataset_builder import Builder as DiDeMo
from data.folder.folder_dataset_builder import Builder as Folder
from data.howto100m.howto100m_dataset_builder import Builder as HowTo100M
from data.msrvtt.msrvtt_dataset_builder import Builder as MSRVTT
from data.youcook2.youcook2_dataset_builder import Builder as YouCook2
from vtmask import tokenizers
from vtmask.building.builder import RecordMaker, VideoTextBuilder, once_each
from vtmask.building.report import Counts
from vtmask.errors import UserError
from vtmask.inputs import clips
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import TrainingBatches
from vtmask.models import VLMSizes

SAID = {"start": [0.5, 2, 4], "end": [2.5, 4, 9.5], "text": ["cut it", "cut it up", "now é fry"]}
IDS = ("a", "b", "c", "d")
MUTATIONS = 100  # of each data set, in each of which one file is damaged


def features(folder: Path, names: tuple[str, ...] = IDS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        values = np.random.default_rng(number).standard_normal((10, 512))
        np.save(folder / f"{name}.npy", values.astype((np.float16, np.float32)[number % 2]))


def howto100m(folder: Path) -> None:
    features(folder / "features")
    (folder / "how2_s3d_train.lst").write_text("a\nb\nc\n")
    (folder / "how2_s3d_val.lst").write_text("d\n")
    said = {name: SAID for name in IDS}
    (folder / "raw_caption.json").write_text(json.dumps(said))
    texts = {name: json.dumps(SAID) for name in IDS}
    (folder / "raw_caption.pkl").write_bytes(pickle.dumps(texts))


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
    TOKENIZERS[1].save(folder)


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
        "\tvid_key\ta1\ta2\ta3\ta4\ta5\tanswer\n0\tmsr7010\ta\tb\tc\td\te\t1\n"
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


# Writer, builder, its configs, and files that are one video's own: they decide about it alone.
CASES: dict[str, tuple[Callable[[Path], None], type[VideoTextBuilder], list[str], str]] = {
    "howto100m": (howto100m, HowTo100M, ["default", "pickle"], "features/*"),
    "shards": (shards, HowTo100M, ["shards"], "none"),
    "msrvtt": (msrvtt, MSRVTT, ["1k-a", "full", "multiple-choice"], "features/*"),
    "youcook2": (youcook2, YouCook2, ["default", "howto100m-pickles"], "features/*"),
    "coin": (coin, Coin, ["default"], "features/*"),
    "crosstask": (crosstask, CrossTask, ["default"], "[fa]*/[a-d1-2]*[a-d].*"),
    "didemo": (didemo, DiDeMo, ["default"], "features/*"),
    "folder": (folder_of_videos, Folder, ["default"], "train/*"),
}


@pytest.mark.parametrize("case", CASES)
def test_damaged_files_of_a_data_set(case: str, tmp_path: Path) -> None:
    write, kind, configs, own = CASES[case]
    manual = tmp_path / "manual"
    manual.mkdir()
    write(manual)
    paths = sorted(path for path in manual.rglob("*") if path.is_file())
    contents = [path.read_bytes() for path in paths]
    builders = [kind(config=config, data_dir=tmp_path / "data") for config in configs]
    valid = [outcome(builder, manual) for builder in builders]
    assert all(len(videos) >= 2 and not counts.skipped for videos, counts in valid)
    seen: Counter[str] = Counter()
    for seed in range(MUTATIONS):
        rng = np.random.default_rng(seed)
        which = int(rng.integers(len(paths)))
        path = paths[which]
        path.write_bytes(damaged(rng, contents, which))
        for builder, (videos, _) in zip(builders, valid, strict=True):
            where = f"{path.relative_to(manual)}, seed {seed}, {builder.builder_config.name}"
            try:
                found, counts = outcome(builder, manual)
            except UserError as error:
                seen["refused"] += 1
                assert "\n" not in str(error) and str(tmp_path) in str(error), where
                assert not path.match(own), f"{where}: {error}"
                continue
            except Exception as error:
                raise AssertionError(f"{where}: {error!r}") from error
            told = {name for name, _ in counts.skipped}
            seen["skipped" if told else "built"] += 1
            if path.match(own):
                assert {name.split("/")[-1] for name in found | told} >= {
                    name.split("/")[-1] for name in videos
                }, where
        path.write_bytes(contents[which])
    assert len(seen) >= 2, seen


def outcome(builder: VideoTextBuilder, manual: Path) -> tuple[set[str], Counts]:
    """Names of the records that are made, each checked, and what became of all videos."""
    maker = RecordMaker(TOKENIZERS[1], 512, builder.builder_config.deduplicate, 0)
    made, total = set(), Counts()
    for entries in builder.splits(manual).values():
        for entry in once_each(entries):
            example, counts = maker(entry)
            total += counts
            if example is not None:
                check(example[1])
                made.add(example[0])
    return made, total


def check(record: dict[str, Any]) -> None:
    values = record["features"]
    assert values.dtype == np.float16 and values.shape[1] == 512 and np.isfinite(values).all()
    for field in record.values():
        if not isinstance(field, dict):
            continue
        assert len(field["tokens"]) == field["num_tokens"].sum()
        assert len(field["text"]) == len(field["num_tokens"])
        if "start" in field:
            start, end = field["start"], field["end"]
            assert (start >= 0).all() and (end >= start).all() and (end <= len(values)).all()
    if "labels" in record:
        assert record["labels"].shape == values.shape[:1] and (record["labels"] >= 0).all()


def damaged(rng: np.random.Generator, contents: list[bytes], which: int) -> bytes:
    """The file's bytes with one to three faults, or as another value of the same format."""
    data = contents[which]
    kind = rng.integers(8)
    if kind == 0:
        other = contents[int(rng.integers(len(contents)))]
        return [b"", b"\xef\xbb\xbf" + data, other, data * 2, data + b"\x00" * 99][rng.integers(5)]
    if kind == 1:
        old, new = [(b",", b";"), (b"\n", b"\r\n"), (b"\t", b","), (b"\n", b"\n\n")][
            rng.integers(4)
        ]
        return data.replace(old, new)
    if kind <= 4:
        try:
            return json.dumps(retyped(rng, json.loads(data))).encode()
        except ValueError:
            pass
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(changed) + 1))
        match rng.integers(4):
            case 0:
                del changed[at:]
            case 1:
                changed[at : at + 1] = rng.bytes(1)
            case 2:
                del changed[at : at + int(rng.integers(1, 9))]
            case 3:
                changed[at:at] = data[at // 2 : at // 2 + int(rng.integers(1, 99))]
    return bytes(changed)


def retyped(rng: np.random.Generator, value: Any) -> Any:
    """The JSON value with one of its values, somewhere inside, changed, repeated or left out."""
    others: list[Any] = [
        None,
        True,
        -1,
        1e300,
        float("nan"),
        float("inf"),
        "",
        "x",
        [],
        {},
        [[]],
        "\ud800",
    ]
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return others[rng.integers(len(others))]
    value = value.copy()
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[int(rng.integers(len(keys)))]
    if rng.random() < 0.2:
        del value[key]
    elif rng.random() < 0.2 and isinstance(value, list):
        value.append(value[key])
    else:
        value[key] = retyped(rng, value[key])
    return value


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.file_name)
def test_damaged_tokenizers(tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / tokenizer.file_name
    for seed in range(MUTATIONS):
        path.write_bytes(damaged(np.random.default_rng(seed), [tokenizer.content], 0))
        try:
            read = tokenizers.load(path)
        except UserError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            continue
        for ids in read.encode(["cut the onion", "é 漢字 \x00"]):
            assert all(0 <= i < read.vocab_size for i in ids), seed


def test_damaged_shards(tmp_path: Path) -> None:
    manual = tmp_path / "manual"
    (manual / "features").mkdir(parents=True)
    for split in ("train", "test"):
        said = [[1.0, 2.5, "take the onion"], [4.0, 6.0, "now chop it"]]
        annotated = {f"{split}{i}": said for i in range(6)}
        (manual / f"{split}.json").write_text(json.dumps(annotated))
        for name in annotated:
            np.save(manual / f"features/{name}.npy", np.ones((10, 4), np.float32))
    builder = Toy(data_dir=tmp_path / "whole")
    config = tfds.download.DownloadConfig(manual_dir=manual)
    builder.download_and_prepare(download_config=config)
    sizes = VLMSizes(feature_size=4)

    def batches(folder: Path) -> list[dict[str, np.ndarray]]:
        dataset = Dataset("toy/default", "train", str(folder))
        sampler = clips.CaptionWindows(sizes, clips_per_record=2)
        return list(islice(TrainingBatches([dataset], sampler, 4, 0).from_step(0), 3))

    right = batches(tmp_path / "whole")
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "whole", copy)
    folder = next(copy.rglob("dataset_info.json")).parent
    paths = [*folder.glob("*train.array*"), *folder.glob("*.json"), folder / "tokenizer.model"]
    paths = [path for path in paths if path.name != "build_report.json"]
    contents = [path.read_bytes() for path in paths]
    refused: Counter[str] = Counter()
    for seed in range(MUTATIONS):
        rng = np.random.default_rng(seed)
        which = seed % len(paths)
        paths[which].write_bytes(damaged(rng, contents, which))
        try:
            for one, other in zip(batches(copy), right, strict=True):
                np.testing.assert_array_equal(one["video_mask"], other["video_mask"])
                assert np.isfinite(one["video"]).all()
        except UserError as error:
            refused[paths[which].name] += 1
            assert "\n" not in str(error) and str(copy) in str(error)
        except Exception as error:
            raise AssertionError(f"{paths[which].name}, seed {seed}: {error!r}") from error
        paths[which].write_bytes(contents[which])
    assert len(refused) == len(paths), refused
