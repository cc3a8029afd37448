"""Makes records from entries: reads and checks features, cleans captions, counts what was lost."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtmask import files
from vtmask.datasets import captions, records
from vtmask.datasets.entries import Duration, Entry, Skipped, Video
from vtmask.datasets.report import Counts
from vtmask.errors import UserError
from vtmask.files.subtitles import Caption
from vtmask.tokenizers import Tokenizer

Example = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class RecordMaker:
    """Makes the record of a video and counts the outcome.

    Beam's workers unpickle it and may lack the builder's module, so it holds no object of that
    module.
    """

    tokenizer: Tokenizer
    feature_size: int
    seconds_per_feature: float
    deduplicate: bool
    seed: int

    def __call__(self, entry: Entry) -> tuple[Example | None, Counts]:
        if isinstance(entry, Skipped):
            return None, Counts(skipped=[(entry.video_id, entry.reason)])
        unread = [(entry.video_id, file) for file in entry.unread]
        counts = Counts(videos=1, unread=unread, problems=entry.problems.copy())
        try:
            return (entry.video_id, self._record(entry, counts)), counts
        except UserError as error:
            return None, Counts(skipped=[(entry.video_id, str(error))])

    def _record(self, video: Video, counts: Counts) -> dict[str, Any]:
        where = f"video {video.video_id}"
        features = files.check_features(where, video.features.read(), self.feature_size)
        duration = Duration(len(features), self.seconds_per_feature)
        return {
            "video_id": video.video_id,
            "video": video.file,
            "features": features,
            "captions": self._captions(video, duration, counts),
            "descriptions": self._descriptions(video, counts),
            **{
                name: annotation.encode(self.tokenizer, duration, counts.problems)
                for name, annotation in video.annotations.items()
            },
        }

    def _descriptions(self, video: Video, counts: Counts) -> dict[str, Any]:
        kept = [index for index, text in enumerate(video.descriptions) if text.strip()]
        counts.problems["empty description"] += len(video.descriptions) - len(kept)
        encoded = records.encode_texts(self.tokenizer, [video.descriptions[i] for i in kept])
        return encoded | {name: [values[i] for i in kept] for name, values in video.extra.items()}

    def _captions(self, video: Video, duration: Duration, counts: Counts) -> dict[str, Any]:
        encoded = video.captions.encode(self.tokenizer, duration, counts.problems)
        times = encoded["start"].tolist(), encoded["end"].tolist()
        cues = list(map(Caption, *times, encoded["text"]))
        counts.before.add(cues, duration.seconds)
        if not self.deduplicate:
            return encoded
        cues = captions.deduplicate(cues, captions.coin(self.seed, video.video_id))
        counts.after.add(cues, duration.seconds)
        return records.encode_timed_texts(self.tokenizer, cues)


def examples(entries: Iterable[Entry], maker: RecordMaker, folder: Path) -> Iterator[Example]:
    """Yields the ids and records of all usable videos; writes the counts of all into `folder`."""
    total = Counts()
    for entry in entries:
        example, counts = maker(entry)
        total += counts
        if example is not None:
            yield example
    total.write(folder)


def once_each(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yields the entries; an entry whose video id came before becomes `Skipped`."""
    seen = set()
    for entry in entries:
        if entry.video_id in seen:
            entry = Skipped(entry.video_id, "duplicate video id; the first one is kept")
        seen.add(entry.video_id)
        yield entry
