"""TFDS builder of MSR-VTT; README.md says which files it reads."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtmask import files
from vtmask.datasets import records
from vtmask.datasets.builder import VideoTextBuilder, VideoTextConfig
from vtmask.datasets.entries import Entry, FeatureFile, Skipped, Texts, Video
from vtmask.errors import check_choice

_SENTENCES = "MSRVTT_data.json"
_TRAIN = "MSRVTT_train.csv"
_FULL_TEST = "MSRVTT_FULL_test.csv"
_1K_A_TEST = "MSRVTT_JSFUSION_test.csv"
_QUESTIONS = "MSR_MC_test.csv"
_PROTOCOLS = {
    "1k-a": "Retrieval among 1,000 videos, a sentence each.",
    "full": "The official test videos with all sentences.",
    "multiple-choice": "Five sentences a test video.",
}
_ANSWERS = ("a1", "a2", "a3", "a4", "a5")


@dataclass(eq=False, kw_only=True)
class MsrvttConfig(VideoTextConfig):
    """Options of a build.

    Attributes:
      protocol: the test protocol: "1k-a", "full" or "multiple-choice".
    """

    protocol: str = "1k-a"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("--config: field 'protocol'", self.protocol, _PROTOCOLS)


class Builder(VideoTextBuilder):
    """Videos with sentences for retrieval or, in one config, with multiple-choice questions."""

    BUILDER_CONFIGS = [
        MsrvttConfig(name=protocol, protocol=protocol, description=description)
        for protocol, description in _PROTOCOLS.items()
    ]
    builder_config: MsrvttConfig

    def annotations(self) -> dict[str, Any]:
        if self.builder_config.protocol != "multiple-choice":
            return {}
        return {"choices": records.texts() | {"correct": np.int32}}

    def splits(self, folder: Path) -> dict[str, Iterable[Entry]]:
        sentences = _read_sentences(folder / _SENTENCES)
        train = _read_ids(folder / _TRAIN)
        if self.builder_config.protocol == "multiple-choice":
            rows = files.read_csv(folder / _QUESTIONS, ("vid_key", *_ANSWERS, "answer"))
            test = list(self._questions(folder, rows))
            test_ids = {_video_id(row) for row in rows}
        elif self.builder_config.protocol == "full":
            ids = _read_ids(folder / _FULL_TEST)
            test = [self._described(folder, name, sentences[name]) for name in ids]
            test_ids = set(ids)
        else:
            rows = files.read_csv(folder / _1K_A_TEST, ("video_id", "sentence"))
            pairs = [(row.fields["video_id"], row.fields["sentence"]) for row in rows]
            test = [self._described(folder, name, [sentence]) for name, sentence in pairs]
            test_ids = {name for name, _ in pairs}
            if (folder / _FULL_TEST).exists():
                train += [name for name in _read_ids(folder / _FULL_TEST) if name not in test_ids]
        return {
            "train": [
                Skipped(name, "is in the test split")
                if name in test_ids
                else self._described(folder, name, sentences[name])
                for name in dict.fromkeys(train)
            ],
            "test": test,
        }

    def _described(self, folder: Path, video_id: str, sentences: Sequence[str]) -> Entry:
        if not any(sentence.strip() for sentence in sentences):
            return Skipped(video_id, "has no sentence")
        no_question = {"choices": Texts((), {"correct": -1})} if self.annotations() else {}
        return Video(
            video_id,
            self._features(folder, video_id),
            descriptions=sentences,
            annotations=no_question,
        )

    def _questions(self, folder: Path, rows: Iterable[files.Row]) -> Iterator[Entry]:
        asked: Counter[str] = Counter()
        for row in rows:
            video_id = _video_id(row)
            asked[video_id] += 1
            name = video_id if asked[video_id] == 1 else f"{video_id}-{asked[video_id]}"
            where = f"{folder / _QUESTIONS}: line {row.line}"
            choices = [row.fields[answer] for answer in _ANSWERS]
            correct = row.fields["answer"].strip()
            if correct not in ("0", "1", "2", "3", "4"):
                yield Skipped(name, f"{where}: answer is {correct!r}, expected 0 to 4")
            elif not all(choice.strip() for choice in choices):
                yield Skipped(name, f"{where}: has an empty text, expected a1 to a5")
            else:
                question = {"choices": Texts(choices, {"correct": int(correct)})}
                yield Video(name, self._features(folder, video_id), annotations=question)

    def _features(self, folder: Path, video_id: str) -> FeatureFile:
        return FeatureFile(folder / self.builder_config.features / f"{video_id}.npy")


def _video_id(row: files.Row) -> str:
    """Returns a question's video id; questions write "msr7010" for "video7010"."""
    return re.sub("^msr", "video", row.fields["vid_key"])


def _read_ids(path: Path) -> list[str]:
    """Reads each video id once; a table may have a row for each sentence."""
    rows = files.read_csv(path, ["video_id"])
    return list(dict.fromkeys(row.fields["video_id"] for row in rows))


def _read_sentences(path: Path) -> defaultdict[str, list[str]]:
    """Reads all sentences of each video, in file order."""
    sentences = defaultdict(list)
    items = files.field(files.read_json(path), "sentences", list, str(path))
    for number, item in enumerate(items):
        where = f"{path}: sentence {number}"
        video_id = files.field(item, "video_id", str, where)
        sentences[video_id].append(files.field(item, "caption", str, where))
    return sentences
