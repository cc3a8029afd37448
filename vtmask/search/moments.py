"""Videos, queries and moments of a search."""

import dataclasses
import datetime
import fnmatch
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from vtmask.search import sources

_RRF = 60  # as in Cormack, Clarke and Büttcher, SIGIR 2009


@dataclasses.dataclass(frozen=True)
class IndexedVideo:
    """A video of an index.

    Attributes:
      video: its number.
      name: its name, as in `vtmask extract`.
      path: of its file.
      seconds: its length.
      bytes, modified_ns: of its file when it was indexed.
      mean: of its vectors, [H].
    """

    video: int
    name: str
    path: str
    seconds: float
    bytes: int
    modified_ns: int
    mean: np.ndarray = dataclasses.field(repr=False, compare=False)

    @property
    def modified(self) -> datetime.date:
        return datetime.date.fromtimestamp(self.modified_ns / 1e9)

    def changed(self) -> str:
        """Describes how its file differs from the one that was indexed; "" if it does not."""
        try:
            now = sources.state_of(self.path)
        except OSError:
            return "no longer exists"
        return "" if now == (self.bytes, self.modified_ns) else "has changed since it was indexed"


@dataclasses.dataclass(frozen=True)
class Moment:
    """A stretch of a video that matches a query.

    Attributes:
      video, name, path: as in `IndexedVideo`.
      start, end, peak: in seconds; the best second begins at `peak`.
      score: dot product of the best second and the query, as `VideoTextModel.localize` gives it.
      caption: the caption that has the query's words, or "".
    """

    video: int
    name: str
    path: str
    start: float
    end: float
    peak: float
    score: float
    caption: str = ""


class Seconds(NamedTuple):
    """A stretch of an indexed video, as a query for similar moments."""

    video: int
    start: float
    end: float


@dataclasses.dataclass(frozen=True)
class Filter:
    """The videos to search.

    Attributes:
      path: part of a path, or a pattern with `*`, `?` or `[…]` for a whole path or name.
      after, before: first and last day of a file's last modification.
      shortest, longest: length of a video in seconds.
    """

    path: str = ""
    after: datetime.date | None = None
    before: datetime.date | None = None
    shortest: float | None = None
    longest: float | None = None

    def takes(self, video: IndexedVideo) -> bool:
        part, paths = self.path.casefold(), (video.path.casefold(), video.name.casefold())
        pattern = part if any(c in part for c in "*?[") else f"*{part}*"
        return (
            any(fnmatch.fnmatchcase(path, pattern) for path in paths)
            and (self.after is None or self.after <= video.modified)
            and (self.before is None or video.modified <= self.before)
            and (self.shortest is None or self.shortest <= video.seconds)
            and (self.longest is None or video.seconds <= self.longest)
        )


def fuse(of_pictures: Sequence[Moment], of_captions: Sequence[Moment]) -> list[Moment]:
    """Merges two lists of moments, both best first, by reciprocal rank fusion.

    A caption joins the first moment of its video that it overlaps; otherwise it is a moment.
    """
    ranks: list[tuple[float, Moment]] = [
        (1 / (_RRF + rank), moment) for rank, moment in enumerate(of_pictures, 1)
    ]
    for rank, caption in enumerate(of_captions, 1):
        value = 1 / (_RRF + rank)
        for place, (score, moment) in enumerate(ranks):
            if (
                moment.video == caption.video
                and moment.start < caption.end
                and caption.start < moment.end
            ):
                if not moment.caption:
                    moment = dataclasses.replace(moment, caption=caption.caption)
                    ranks[place] = score + value, moment
                break
        else:
            ranks.append((value, caption))
    return [moment for _, moment in sorted(ranks, key=lambda pair: -pair[0])]


def to_json(moments: Iterable[Moment]) -> str:
    return json.dumps([dataclasses.asdict(moment) for moment in moments], indent=2)


def clock(seconds: float) -> str:
    """Formats a time as 1:02:03, or as 2:03 below an hour."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
