"""TFDS builder of QVHighlights; README.md says which files it reads."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vtmask import files
from vtmask.datasets import records
from vtmask.datasets.builder import VideoTextBuilder
from vtmask.datasets.entries import Entry, FeatureFile, Moments, Skipped, TimedTexts, Video
from vtmask.errors import UserError
from vtmask.files import activitynet, json_lines
from vtmask.files.subtitles import Caption

_FILES = {
    "train": ("highlight_train_release.jsonl",),
    "validation": ("highlight_val_release.jsonl",),
    "test": ("highlight_test_with_gt.jsonl", "highlight_test_release.jsonl"),
}
_INT32 = np.iinfo(np.int32).max


class Query(NamedTuple):
    """A query and the windows that it asks for, in seconds; none if they are not published."""

    qid: int
    text: str
    windows: list[tuple[float, float]]


class Builder(VideoTextBuilder):
    """Parts of videos with queries, each of which asks for one or more windows."""

    def annotations(self) -> dict[str, Any]:
        return {
            "clips": records.timed_texts(),
            "moments": records.moments() | {"qid": records.integers()},
        }

    def splits(self, folder: Path) -> dict[str, Iterator[Entry]]:
        entries = {}
        for split, names in _FILES.items():
            paths = [folder / name for name in names if (folder / name).exists()]
            if paths:
                entries[split] = self._entries(folder, paths[0])
        if not entries:
            known = ", ".join(name for names in _FILES.values() for name in names)
            raise UserError(f"{folder}: has none of {known}; add at least one")
        return entries

    def _entries(self, folder: Path, path: Path) -> Iterator[Entry]:
        videos: dict[str, dict[str, Any]] = defaultdict(dict)
        for number, item in json_lines.read(path):
            where = f"{path}: line {number}"
            videos[files.field(item, "vid", str, where)][where] = item
        for video_id, items in videos.items():
            try:
                queries = [_query(item, where) for where, item in items.items()]
                _check_ids(queries, path)
            except UserError as error:
                yield Skipped(video_id, str(error))
                continue
            yield Video(
                video_id,
                FeatureFile(folder / self.builder_config.features / f"{video_id}.npy"),
                annotations={
                    "clips": TimedTexts(
                        [Caption(*window, q.text) for q in queries for window in q.windows]
                    ),
                    "moments": Moments(
                        [query.text for query in queries],
                        [query.windows for query in queries],
                        {"qid": [query.qid for query in queries]},
                    ),
                },
            )


def _query(item: Any, where: str) -> Query:
    qid = files.field(item, "qid", int, where)
    if not 0 <= qid <= _INT32:
        raise UserError(f"{where}: qid is {qid}, expected 0 to {_INT32}")
    where += f", qid {qid}"
    text = files.field(item, "query", str, where)
    if not text.strip():
        raise UserError(f"{where}: query is empty")
    windows = []
    if "relevant_windows" in item:  # the challenge's test file lacks them
        windows = files.field(item, "relevant_windows", list, where)
    return Query(qid, text, [activitynet.segment({"segment": w}, where) for w in windows])


def _check_ids(queries: list[Query], path: Path) -> None:
    qids = [query.qid for query in queries]
    twice = next((qid for qid in qids if qids.count(qid) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: qid {twice} occurs twice")
