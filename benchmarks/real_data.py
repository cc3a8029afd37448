"""The data sets of benchmarks/real.py: 1,000 clips of MSR-VTT with real features.

The features' 50 rows are standardised and averaged to `ROWS`. The training clips are split by
source video into a part to fit and a part to choose checkpoints by.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data.msrvtt.msrvtt_dataset_builder import Builder, MsrvttConfig

ROWS = 5
SECONDS_PER_ROW = 3.0  # a median clip has 14 s; nothing here reads times
VALIDATION_CLIPS = 100
VALIDATION_SENTENCES = 5  # of 20, as each is embedded at every validation
ANSWERS = 5


@dataclass(frozen=True)
class Clips:
    """The clips' annotations.

    Attributes:
      sentences: of each clip.
      fit, validation: ids of the training clips; clips of a source video are in the same part.
      test: id and query of each test clip.
      folder: has `ID.npy` of each clip, float16 [50, 128].
    """

    sentences: dict[str, list[str]]
    fit: list[str]
    validation: list[str]
    test: list[tuple[str, str]]
    folder: Path

    def features(self, ids: Sequence[str]) -> np.ndarray:
        """Reads features: float32 [clips, 50, 128]."""
        return np.stack([np.load(self.folder / f"{name}.npy") for name in ids]).astype(np.float32)


def read(reference: Path) -> Clips:
    annotations = json.loads((reference / "msrvtt/MSRVTT_data.json").read_text())
    sentences = defaultdict(list)
    for sentence in annotations["sentences"]:
        sentences[sentence["video_id"]].append(sentence["caption"])
    mini = reference / "msrvtt_mini"
    test = [(row["video_id"], row["sentence"]) for row in _rows(mini / "MSRVTT_JSFUSION_test.csv")]
    clips_of = defaultdict(list)
    source = {video["video_id"]: video["url"] for video in annotations["videos"]}
    for row in _rows(mini / "MSRVTT_train.csv"):
        clips_of[source[row["video_id"]]].append(row["video_id"])
    sources = sorted(clips_of)
    validation: list[str] = []
    for index in np.random.default_rng(0).permutation(len(sources)):
        if len(validation) < VALIDATION_CLIPS:
            validation += clips_of.pop(sources[index])
    fit = [clip for clips in clips_of.values() for clip in clips]
    return Clips(dict(sentences), fit, validation, test, mini / "features")


def build(clips: Clips, tokenizer: Path, out: Path) -> None:
    """Builds msrvtt/validation, retrieval, captions and questions in `out`; keeps what is built.

    Each has the fit part as train. The test split of "validation" has the validation part, that of
    the others the test clips: with their query, all sentences, or questions.
    """
    features = out / "features"
    _write_features(clips, features)
    for name, protocol in {
        "validation": "full",
        "retrieval": "1k-a",
        "captions": "full",
        "questions": "multiple-choice",
    }.items():
        files = out / "files" / name
        files.mkdir(parents=True, exist_ok=True)
        _write_files(clips, files, validation=name == "validation")
        config = MsrvttConfig(
            name=name,
            protocol=protocol,
            features=str(features),
            feature_size=128,
            feature_extractor=f"msrvtt-mini-{ROWS}",
            seconds_per_feature=SECONDS_PER_ROW,
        )
        builder = Builder(config=config, data_dir=str(out), tokenizer=str(tokenizer))
        download = tfds.download.DownloadConfig(manual_dir=files)
        builder.download_and_prepare(download_config=download)


def _write_features(clips: Clips, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = clips.features(clips.fit)
    mean, deviation = rows.mean((0, 1)), rows.std((0, 1))
    ids = [*clips.fit, *clips.validation, *(name for name, _ in clips.test)]
    standardised = (clips.features(ids) - mean) / deviation
    averaged = standardised.reshape(len(ids), ROWS, -1, rows.shape[-1]).mean(axis=2)
    for name, values in zip(ids, averaged.astype(np.float16), strict=True):
        np.save(folder / f"{name}.npy", values)


def _write_files(clips: Clips, folder: Path, validation: bool) -> None:
    tested = clips.validation if validation else [name for name, _ in clips.test]
    limit = VALIDATION_SENTENCES if validation else None
    sentences = [
        {"video_id": name, "caption": text}
        for part, most in ((clips.fit, None), (tested, limit))
        for name in part
        for text in clips.sentences[name][:most]
    ]
    (folder / "MSRVTT_data.json").write_text(json.dumps({"sentences": sentences}))
    _write_csv(folder / "MSRVTT_train.csv", ["video_id"], [[name] for name in clips.fit])
    _write_csv(folder / "MSRVTT_FULL_test.csv", ["video_id"], [[name] for name in tested])
    _write_csv(folder / "MSRVTT_JSFUSION_test.csv", ["video_id", "sentence"], clips.test)
    answers = [f"a{i}" for i in range(1, ANSWERS + 1)]
    _write_csv(folder / "MSR_MC_test.csv", ["vid_key", *answers, "answer"], _questions(clips))


def _questions(clips: Clips) -> list[list[str]]:
    """A question for each test clip: its query among those of four other clips."""
    generator = np.random.default_rng(0)
    questions = []
    for index, (name, query) in enumerate(clips.test):
        others = np.delete(np.arange(len(clips.test)), index)
        texts = [clips.test[other][1] for other in generator.choice(others, ANSWERS - 1, False)]
        correct = int(generator.integers(ANSWERS))
        texts.insert(correct, query)
        questions.append([name.replace("video", "msr"), *texts, str(correct)])
    return questions


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def _write_csv(path: Path, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w") as file:
        csv.writer(file).writerows([names, *rows])
