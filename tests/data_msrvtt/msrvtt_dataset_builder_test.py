import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.msrvtt.msrvtt_dataset_builder import Builder, MsrvttConfig
from vtmask.datasets.entries import Entry, FeatureFile, Skipped, Texts, Video
from vtmask.errors import UserError
from vtmask.inputs.dataset import Dataset

SENTENCES = {
    "video0": ["a man cooks", "someone is cooking"],
    "video1": ["a dog runs"],
    "video7010": ["a car drives", "a red car"],
    "video7011": ["a cat sleeps"],
}
QUESTIONS = "\tkey\tvid_key\ta1\ta2\ta3\ta4\ta5\tanswer\n"
TEXTS = "a dog runs\ta car drives\ta man sings\ta ball\tpeople talk"


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    folder = tmp_path / "manual"
    write(folder)
    return folder


def write(folder: Path) -> None:
    """Writes two training videos and two of the official test split, one of them in 1k-A."""
    (folder / "features").mkdir(parents=True)
    write_sentences(folder, SENTENCES)
    (folder / "MSRVTT_train.csv").write_text("video_id\nvideo0\nvideo1\n")
    (folder / "MSRVTT_FULL_test.csv").write_text("video_id\nvideo7010\nvideo7011\n")
    test = "key,vid_key,video_id,sentence\nret0,msr7010,video7010,a car is driving\n"
    (folder / "MSRVTT_JSFUSION_test.csv").write_text(test)
    (folder / "MSR_MC_test.csv").write_text(f"{QUESTIONS}0\tMC0\tmsr7010\t{TEXTS}\t1\n")
    for number, name in enumerate(SENTENCES):
        np.save(folder / f"features/{name}.npy", np.full((3, 512), number, np.float32))


def write_sentences(folder: Path, sentences: dict[str, list[str]]) -> None:
    pairs = [(video, text) for video, texts in sentences.items() for text in texts]
    items = [{"video_id": v, "caption": text, "sen_id": i} for i, (v, text) in enumerate(pairs)]
    (folder / "MSRVTT_data.json").write_text(json.dumps({"sentences": items, "videos": []}))


def test_a_custom_config_may_have_any_protocol(manual: Path) -> None:
    for protocol in Builder.builder_configs:
        config = MsrvttConfig(name="clip", protocol=protocol, feature_extractor="clip")
        builder = Builder(config=config, data_dir=manual.parent / "data")
        ours = builder.splits(manual)["test"]
        named = Builder(config=protocol, data_dir=manual.parent / "data")
        assert list(ours) == list(named.splits(manual)["test"])
        assert ("choices" in builder.annotations()) == (protocol == "multiple-choice")
    with pytest.raises(UserError, match="'protocol' is '1k', expected '1k-a' or 'full' or"):
        MsrvttConfig(name="clip", protocol="1k")


def entries(manual: Path, config: str, split: str) -> dict[str, Entry]:
    builder = Builder(config=config, data_dir=manual.parent / "data")
    actual = list(builder.splits(manual)[split])
    assert len({entry.video_id for entry in actual}) == len(actual)
    return {entry.video_id: entry for entry in actual}


def descriptions(manual: Path, config: str, split: str) -> dict[str, list[str]]:
    actual = entries(manual, config, split)
    return {name: list(e.descriptions) for name, e in actual.items() if isinstance(e, Video)}


def built(manual: Path, config: str) -> dict[str, dict[str, dict]]:
    """Builds and returns the records of both splits, by video."""
    data_dir = manual.parent / "data"
    (manual / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    )
    download = tfds.download.DownloadConfig(manual_dir=manual)
    Builder(config=config, data_dir=data_dir).download_and_prepare(download_config=download)
    datasets = {s: Dataset(f"msrvtt/{config}", s, str(data_dir)) for s in ("train", "test")}
    return {
        split: {d[i]["video_id"]: d[i] for i in range(d.num_records)}
        for split, d in datasets.items()
    }


def test_1k_a_is_the_default_and_trains_on_the_other_test_videos(manual: Path) -> None:
    assert next(iter(Builder.builder_configs)) == "1k-a"
    records = built(manual, "1k-a")
    texts = {
        split: {name: record["descriptions"]["text"] for name, record in actual.items()}
        for split, actual in records.items()
    }
    assert texts["train"] == {k: v for k, v in SENTENCES.items() if k != "video7010"}
    assert texts["test"] == {"video7010": ["a car is driving"]}
    assert (records["test"]["video7010"]["features"] == 2).all()
    assert "choices" not in records["test"]["video7010"]


def test_1k_a_does_not_need_the_list_of_the_official_test(manual: Path) -> None:
    (manual / "MSRVTT_FULL_test.csv").unlink()
    assert sorted(descriptions(manual, "1k-a", "train")) == ["video0", "video1"]


def test_full_has_the_official_splits(manual: Path) -> None:
    assert sorted(descriptions(manual, "full", "train")) == ["video0", "video1"]
    tested = {name: SENTENCES[name] for name in ("video7010", "video7011")}
    assert descriptions(manual, "full", "test") == tested


def test_a_list_may_have_a_row_for_each_sentence(manual: Path) -> None:
    rows = "video_id,sentence\nvideo7010,a car drives\nvideo7010,a red car\n"
    (manual / "MSRVTT_FULL_test.csv").write_text(rows)
    assert descriptions(manual, "full", "test") == {"video7010": SENTENCES["video7010"]}


def test_multiple_choice(manual: Path) -> None:
    records = built(manual, "multiple-choice")
    choices = records["test"]["video7010"]["choices"]
    assert choices["text"] == TEXTS.split("\t") and choices["correct"] == 1
    assert sorted(records["train"]) == ["video0", "video1"]
    trained = records["train"]["video0"]
    assert trained["descriptions"]["text"] == SENTENCES["video0"]
    assert trained["choices"]["text"] == [] and trained["choices"]["correct"] == -1


def test_every_question_of_a_video_is_kept(manual: Path) -> None:
    row = f"0\tMC0\tmsr7010\t{TEXTS}"
    (manual / "MSR_MC_test.csv").write_text(f"{QUESTIONS}{row}\t1\n{row}\t4\n{row}\t0\n")
    actual = entries(manual, "multiple-choice", "test")
    correct = {}
    for name, entry in actual.items():
        assert isinstance(entry, Video) and isinstance(entry.annotations["choices"], Texts)
        assert entry.features == FeatureFile(manual / "features/video7010.npy")
        correct[name] = entry.annotations["choices"].extra["correct"]
    assert correct == {"video7010": 1, "video7010-2": 4, "video7010-3": 0}


@pytest.mark.parametrize("answer", ["5", "-1", "1.0", "", "a1"])
def test_an_answer_that_is_none_of_the_five_skips_its_question(manual: Path, answer: str) -> None:
    (manual / "MSR_MC_test.csv").write_text(f"{QUESTIONS}0\tMC0\tmsr7010\t{TEXTS}\t{answer}\n")
    (entry,) = entries(manual, "multiple-choice", "test").values()
    assert isinstance(entry, Skipped)
    assert entry.reason.endswith(f"MSR_MC_test.csv: line 2: answer is {answer!r}, expected 0 to 4")


def test_a_question_with_an_empty_text_is_skipped(manual: Path) -> None:
    row = f"0\tMC0\tmsr7010\t{TEXTS.replace('a ball', ' ')}\t1\n"
    (manual / "MSR_MC_test.csv").write_text(QUESTIONS + row)
    (entry,) = entries(manual, "multiple-choice", "test").values()
    assert isinstance(entry, Skipped) and "line 2: has an empty text" in entry.reason


def test_a_question_with_four_texts_is_refused(manual: Path) -> None:
    four = TEXTS.rpartition("\t")[0]
    (manual / "MSR_MC_test.csv").write_text(f"{QUESTIONS}0\tMC0\tmsr7010\t{four}\t1\n")
    with pytest.raises(UserError, match=r"MSR_MC_test.csv: line 2: has 8 fields, expected 9"):
        entries(manual, "multiple-choice", "test")


def test_no_video_is_in_both_splits(manual: Path) -> None:
    (manual / "MSRVTT_train.csv").write_text("video_id\nvideo0\nvideo7010\n")
    for config in Builder.builder_configs:
        actual = entries(manual, config, "train")
        assert actual["video7010"] == Skipped("video7010", "is in the test split")
        assert isinstance(actual["video0"], Video)


def test_a_listed_video_without_sentences_is_skipped(manual: Path) -> None:
    write_sentences(manual, SENTENCES | {"video1": [" "], "video7011": []})
    assert entries(manual, "full", "train")["video1"] == Skipped("video1", "has no sentence")
    assert entries(manual, "full", "test")["video7011"] == Skipped("video7011", "has no sentence")


def test_other_delimiters_and_byte_order_marks_are_read(manual: Path) -> None:
    table = "video_id;sentence\r\nvideo7010;one, two\r\n"
    (manual / "MSRVTT_JSFUSION_test.csv").write_bytes(b"\xef\xbb\xbf" + table.encode())
    (manual / "MSRVTT_data.json").write_bytes(
        b"\xef\xbb\xbf" + (manual / "MSRVTT_data.json").read_bytes()
    )
    assert descriptions(manual, "1k-a", "test") == {"video7010": ["one, two"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("MSRVTT_train.csv", None, "MSRVTT_train.csv: cannot be read"),
        ("MSRVTT_train.csv", "video0\nvideo1\n", "has no column 'video_id'"),
        ("MSRVTT_JSFUSION_test.csv", None, "MSRVTT_JSFUSION_test.csv: cannot be read"),
        ("MSRVTT_JSFUSION_test.csv", "video_id,text\nvideo0,x\n", "has no column 'sentence'"),
        ("MSRVTT_JSFUSION_test.csv", "video_id|sentence\nvideo0|x\n", "has no column 'video_id'"),
        ("MSRVTT_data.json", '{"sentences": [', "line 1 column 16: not JSON"),
        ("MSRVTT_data.json", "[]", "is list, expected an object with the field 'sentences'"),
        ("MSRVTT_data.json", '{"sentences": {}}', "'sentences' is dict, expected list"),
        ("MSRVTT_data.json", '{"sentences": [{"caption": "x"}]}', "sentence 0: has no field"),
        (
            "MSRVTT_data.json",
            '{"sentences": [{"video_id": "video0", "caption": 3}]}',
            "sentence 0: field 'caption' is int, expected str",
        ),
    ],
)
def test_malformed_files_are_refused(
    manual: Path, name: str, content: str | None, message: str
) -> None:
    (manual / name).unlink()
    if content is not None:
        (manual / name).write_text(content)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        entries(manual, "1k-a", "train")
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_the_published_1k_a_captions(manual: Path, reference_dir: Path) -> None:
    published = reference_dir / "msrvtt" / "MSRVTT_JSFUSION_test.csv"
    shutil.copy(published, manual / published.name)
    actual = descriptions(manual, "1k-a", "test")
    assert len(actual) == 1000 and all(len(texts) == 1 for texts in actual.values())
    assert actual["video9770"] == ["a person is connecting something to system"]
    assert {7010 <= int(name.removeprefix("video")) <= 9999 for name in actual} == {True}
