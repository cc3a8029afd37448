"""Searches an index for the moments that match a query."""

import functools
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from lancedb.query import MatchQuery

from vtmask import api, peaks
from vtmask.api import Video, VideoTextModel
from vtmask.errors import UserError, check_choice
from vtmask.search import sources, store
from vtmask.search.moments import Filter, IndexedVideo, Moment, Seconds, fuse

By = Literal["pictures", "captions", "both"]
BY = ("both", "pictures", "captions")

_HITS_PER_MOMENT = 4  # seconds requested at first
_MORE = 4  # factor by which more are requested if they make too few moments
_FUSED = 50  # minimum length of the lists that are fused


Query = str | Seconds | Video


class _Stretch(NamedTuple):
    """Consecutive vectors of a video, [length, H], from place `first` on."""

    video: int
    first: int
    vectors: np.ndarray


class Index:
    """An index of videos; `vtmask index` makes it.

    Several threads may search at once. A search includes what was indexed in the meantime.

    Attributes:
      card: what made the index.
    """

    def __init__(
        self,
        folder: str | Path,
        model: str | Path | None = None,
        s3d_weights: str | Path | None = None,
    ):
        """Opens an index; the first query that needs the model loads it.

        Args:
          model: folder of the export, if it has moved.
          s3d_weights: S3D's weights, if they have moved; only queries by video need them.

        Raises:
          UserError: the folder has no index, or a damaged one.
        """
        self.folder = Path(folder)
        self.card = store.read_card(self.folder)
        self._model_folder = Path(model or self.card.model)
        self._s3d_weights = s3d_weights or self.card.s3d_weights
        self._lock = threading.Lock()
        with store.readable(self.folder):
            self._tables = store.Tables(self.folder, self.card.size)
        self._known: tuple[int, dict[int, IndexedVideo]] = (-1, {})

    @functools.cached_property
    def model(self) -> VideoTextModel:
        """The model that made the index.

        Raises:
          UserError: the model is missing, or its folder now has another one.
        """
        model = api.load(self._model_folder, self._s3d_weights)
        if sources.fingerprint(self._model_folder) != self.card.model_sha256:
            raise UserError(
                f"{self.folder}: was not made with the model that is now in {self._model_folder}; "
                "pass its model as --model, or index the videos again with another --out"
            )
        return model

    @property
    def videos(self) -> dict[int, IndexedVideo]:
        """All videos, by number."""
        with self._lock, store.readable(self.folder):
            version = self._tables.videos.version
            if self._known[0] != version:
                self._known = version, self._read_videos()
            return self._known[1]

    def search(
        self,
        query: Query | Sequence[Query],
        k: int = 20,
        filter: Filter | None = None,
        by: By = "both",
    ) -> Any:
        """Finds the moments of all videos that match the query, best first.

        Seconds are scored by their dot products with the query, and `vtmask.peaks` joins them to
        moments. Texts also find captions by their words (BM25); reciprocal rank fusion merges the
        two lists.

        Args:
          query: a text (str); a video, as `VideoTextModel.embed_video` takes it, but a file as a
            Path; `Seconds` of an indexed video; or a list of these.
          k: maximum number of moments.
          by: what a text is compared with.

        Returns:
          list of `Moment`; one such list per query for a list of queries.

        Raises:
          UserError: the query can't be read, or the index is damaged.
        """
        if isinstance(query, (list, tuple)) and not isinstance(query, Seconds):
            return [self.search(one, k, filter, by) for one in query]
        one: Any = query
        check_choice("by", by, BY)
        if k < 1:
            raise UserError(f"k is {k}, expected at least 1")
        videos = self.videos
        chosen = {n: v for n, v in videos.items() if filter is None or filter.takes(v)}
        where = "" if len(chosen) == len(videos) else store.among(list(chosen))
        if not chosen:
            return []
        vector = self.embed(one)
        words = isinstance(one, str) and by != "pictures"
        with store.readable(self.folder):
            if not words:
                return self._by_pictures(vector, k, chosen, where)
            depth = max(k, _FUSED)
            of_captions = self._by_captions(one, vector, depth, chosen, where)
            of_pictures = self._by_pictures(vector, depth, chosen, where) if by == "both" else []
        return fuse(of_pictures, of_captions)[:k]

    def embed(self, query: Query) -> np.ndarray:
        """Returns the vector of a query, float32 [H]."""
        if isinstance(query, str):
            return self.model.embed_text(query)
        if isinstance(query, Seconds):
            first, stop = _places(query.start, query.end, self.card.seconds_per_feature)
            with store.readable(self.folder):
                stretches = self._stretches([(query.video, first, stop)])
            if not stretches or query.video not in self.videos:
                raise UserError(
                    f"{self.folder}: has no video {query.video} at {query.start:g}–{query.end:g} s"
                )
            return stretches[0].vectors.mean(axis=0)
        return self.model.embed_video(query)

    def scores(self, query: Query, video: int) -> np.ndarray:
        """Scores all seconds of a video, as `VideoTextModel.localize` does: float32 [seconds].

        Raises:
          UserError: the index has no such video.
        """
        if video not in self.videos:
            raise UserError(f"{self.folder}: has no video {video}")
        vector = self.embed(query)
        with store.readable(self.folder):
            (stretch,) = self._stretches([(video, 0, None)])
        return stretch.vectors @ vector

    def thumbnail(self, video: int, second: float) -> bytes | None:
        """Returns the thumbnail of a second of a video, as JPEG; None if there is none near it.

        It is the one nearest to the middle of the second or, at the video's end, the one before it.
        """
        step = store.THUMBNAIL_SECONDS
        place = round((second + 0.5) / step) * step
        where = f"video = {video} AND second IN ({place}, {place - step})"
        with store.readable(self.folder):
            rows = self._tables.thumbnails.search().where(where).to_arrow().to_pylist()
        return max(rows, key=lambda row: row["second"])["jpeg"] if rows else None

    def _read_videos(self) -> dict[int, IndexedVideo]:
        rows = self._tables.videos.search().to_arrow()
        means = store.matrix(rows["mean"], self.card.size)
        unit = self.card.seconds_per_feature
        return {
            row["video"]: IndexedVideo(
                row["video"],
                row["name"],
                row["path"],
                row["features"] * unit,
                row["bytes"],
                row["modified_ns"],
                mean,
            )
            for row, mean in zip(rows.drop_columns(["mean"]).to_pylist(), means, strict=True)
        }

    def _by_pictures(
        self, vector: np.ndarray, k: int, videos: Mapping[int, IndexedVideo], where: str
    ) -> list[Moment]:
        """Returns the best k moments; requests more seconds until they make enough."""
        count = _HITS_PER_MOMENT * k
        while True:
            places, lowest, complete = self._nearest(vector, count, videos, where)
            moments = self._moments(vector, places, lowest, k, videos)
            if len(moments) == k or complete:
                return moments
            count *= _MORE

    def _nearest(
        self, vector: np.ndarray, count: int, videos: Mapping[int, IndexedVideo], where: str
    ) -> tuple[list[tuple[int, int]], float, bool]:
        """Returns the best seconds (video, place), their lowest score and whether these are all."""
        rows = store.nearest(self._tables.seconds, vector, count, where)
        pairs = zip(rows["video"].to_pylist(), rows["place"].to_pylist(), strict=True)
        places = [pair for pair in pairs if pair[0] in videos]
        return places, min(rows["score"].to_pylist(), default=np.inf), len(rows) < count

    def _moments(
        self,
        vector: np.ndarray,
        places: Iterable[tuple[int, int]],
        lowest: float,
        k: int,
        videos: Mapping[int, IndexedVideo],
    ) -> list[Moment]:
        """Returns the best k moments around places.

        Leaves out those below `lowest`, since moments of other places may be better.
        """
        stretches = self._stretches(_around(places))
        if not stretches:
            return []
        scores = [stretch.vectors @ vector for stretch in stretches]
        bounds = np.cumsum([0, *map(len, scores)])
        bases = np.array([videos[stretch.video].mean @ vector for stretch in stretches])
        joined = np.concatenate(scores)
        unit = self.card.seconds_per_feature
        moments = []
        for peak, start, stop in zip(*peaks.find(joined, bounds, bases, k), strict=True):
            if joined[peak] < lowest - 1e-4 * abs(lowest):  # sums in another order differ
                break
            place = int(np.searchsorted(bounds, peak, side="right")) - 1
            stretch = stretches[place]
            offset = stretch.first - bounds[place]
            span = (start + offset) * unit, (stop + offset) * unit
            moments.append(self._moment(videos[stretch.video], span, peak + offset, joined[peak]))
        return moments

    def _moment(
        self,
        video: IndexedVideo,
        span: tuple[float, float],
        peak: int,
        score: float,
        caption: str = "",
    ) -> Moment:
        start, end = (float(min(time, video.seconds)) for time in span)
        second = float(peak * self.card.seconds_per_feature)
        return Moment(
            video.video, video.name, video.path, start, end, second, float(score), caption
        )

    def _by_captions(
        self,
        text: str,
        vector: np.ndarray,
        count: int,
        videos: Mapping[int, IndexedVideo],
        where: str,
    ) -> list[Moment]:
        """Returns captions that have words of the text, best first, each with its best second."""
        words = MatchQuery(text, "text")  # type: ignore[call-arg]
        query = self._tables.captions.search(words, query_type="fts")
        if where:
            query = query.where(where, prefilter=True)
        rows = [row for row in query.limit(count).to_arrow().to_pylist() if row["video"] in videos]
        rows.sort(key=lambda row: -row["_score"])
        unit = self.card.seconds_per_feature
        stretches = [(row["video"], *_places(row["start"], row["end"], unit)) for row in rows]
        scores = {
            (stretch.video, place): score
            for stretch in self._stretches(stretches)
            for place, score in enumerate(stretch.vectors @ vector, stretch.first)
        }
        moments = []
        for row, (video, first, stop) in zip(rows, stretches, strict=True):
            places = [place for place in range(first, stop) if (video, place) in scores]
            if places:
                peak = max(places, key=lambda place: scores[video, place])
                span, score = (row["start"], row["end"]), scores[video, peak]
                moments.append(self._moment(videos[video], span, peak, score, row["text"]))
        return moments

    def _stretches(self, spans: Sequence[tuple[int, int, int | None]]) -> list[_Stretch]:
        """Reads the vectors of spans (video, first place, place after the last or None) at once."""
        if not spans:
            return []
        conditions = (
            f"(video = {video} AND place >= {first}"
            + (f" AND place < {stop})" if stop is not None else ")")
            for video, first, stop in spans
        )
        rows = self._tables.seconds.search().where(" OR ".join(conditions)).to_arrow()
        if not len(rows):
            return []
        numbers, places = rows["video"].to_numpy(), rows["place"].to_numpy()
        vectors = store.matrix(rows["vector"], self.card.size)
        order = np.lexsort((places, numbers))
        numbers, places, vectors = numbers[order], places[order], vectors[order]
        new = (np.diff(numbers) != 0) | (np.diff(places) != 1)
        starts = [0, *(np.flatnonzero(new) + 1).tolist()]
        return [
            _Stretch(int(numbers[start]), int(places[start]), vectors[start:stop])
            for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True)
        ]


def _places(start: float, end: float, unit: float) -> tuple[int, int]:
    """Returns the first place of a time span and the one after its last; it has at least one."""
    first = int(start / unit)
    return first, max(int(np.ceil(end / unit)), first + 1)


def _around(places: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Returns disjoint stretches with every second that a moment peaking at a place may include."""
    stretches: list[tuple[int, int, int]] = []
    for video, place in sorted(places):
        first, stop = max(place - peaks.REACH, 0), place + peaks.REACH + 1
        if stretches and stretches[-1][0] == video and first <= stretches[-1][2]:
            stretches[-1] = (video, stretches[-1][1], stop)
        else:
            stretches.append((video, first, stop))
    return stretches
