"""Makes an index of videos, and updates it."""

import functools
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image
from tqdm import tqdm

from vtmask import api, files
from vtmask.api import VideoTextModel
from vtmask.datasets import captions
from vtmask.errors import UserError, reason
from vtmask.features import extraction, feature_folder, listing
from vtmask.features.decode import Window
from vtmask.features.listing import Listed
from vtmask.files import subtitles
from vtmask.search import store
from vtmask.search.sources import (
    Source,
    State,
    absolute,
    captions_in,
    fingerprint,
    sha256_of,
    state_of,
)
from vtmask.search.store import Card, Tables

# A thumbnail shows the central square, as extractors see it.
_THUMBNAIL = Window(frames=1, frame_rate=1, image_size=192, interpolation="area")
_JPEG_QUALITY = 80
AT_ONCE = 20_000  # features embedded before they are written
_SHOWN = 20  # problems listed
_AHEAD = 64  # decoded pictures that wait


@dataclass
class Summary:
    """How many videos were indexed, and which problems they had."""

    added: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)

    def lines(self, out: Path) -> Iterator[str]:
        """Yields the lines that the command prints."""
        total = self.added + self.updated + self.unchanged
        yield (
            f"{out}: {total} videos ({self.added} added, {self.updated} updated, "
            f"{self.unchanged} unchanged), {self.removed} removed"
        )
        for problem in self.problems[:_SHOWN]:
            yield feature_folder.printable(f"  {problem}")
        if len(self.problems) > _SHOWN:
            yield f"  … and {len(self.problems) - _SHOWN} more"


def index(
    arguments: Sequence[str],
    model_folder: str | Path,
    out: Path,
    s3d_weights: str | Path | None = None,
    num_decoders: int = 1,
) -> Summary:
    """Adds videos to an index, updates those that changed, removes those whose file is gone.

    After a kill, the same call continues. A video is searchable once all of it is written.

    Args:
      arguments: as in `listing.find`. A video whose file is gone is removed if it was in one of the
        folders that they name.
      num_decoders: processes.

    Raises:
      UserError: the index was made with another model or other features, or `out` is not an index.
    """
    videos = listing.find(arguments)
    model = api.load(model_folder, s3d_weights)
    store.create(out, card_of(Path(model_folder), model, s3d_weights))
    summary = Summary()
    with store.alone(out), store.readable(out):
        tables = Tables(out, model.exported.module.config.hidden_size)
        tables.remove_orphans()
        known = _known(tables)
        changed = list(_changed(videos, known, tables, summary))
        _remove_gone(tables, arguments, known, summary)
        extracted = _extract(changed, model, out / "features", num_decoders, summary)
        for sources in _chunks(extracted, out / "features"):
            _add(tables, sources, model, out / "features", num_decoders, known, summary)
        tables.remove_orphans()
        tables.tidy()
        _forget_features(tables, out / "features")
    return summary


def card_of(folder: Path, model: VideoTextModel, s3d_weights: str | Path | None) -> Card:
    """Returns the card of an index made with this model."""
    return Card(
        model=absolute(folder),
        model_sha256=fingerprint(folder),
        s3d_weights=absolute(Path(s3d_weights)) if s3d_weights else None,
        feature_extractor=model.exported.feature_extractor,
        seconds_per_feature=model.exported.seconds_per_feature,
        size=model.exported.module.config.hidden_size,
    )


class _Row(NamedTuple):
    """A video file, as the index recorded it."""

    video: int
    state: State
    sha256: str
    captions: str


def _known(tables: Tables) -> dict[str, _Row]:
    """Returns the indexed files by path."""
    fields = ["path", "video", "bytes", "modified_ns", "sha256", "captions"]
    return {
        row["path"]: _Row(
            row["video"], State(row["bytes"], row["modified_ns"]), row["sha256"], row["captions"]
        )
        for row in tables.videos.search().select(fields).to_arrow().to_pylist()
    }


def _changed(
    videos: Iterable[Listed], known: dict[str, _Row], tables: Tables, summary: Summary
) -> Iterator[Source]:
    """Yields the videos to index. A file with the same size and time counts as unchanged."""
    seen: set[str] = set()
    in_folder = functools.cache(captions_in)
    for listed in tqdm(list(videos), desc="look at files", unit="video", leave=False):
        path = absolute(listed.path)
        if path in seen:
            continue
        seen.add(path)
        try:
            if not files.is_unicode(path):
                raise UserError(f"{path}: file name is not UTF-8; rename it")
            state, row = state_of(path), known.get(path)
            same_file = row is not None and row.state == state
            sha256 = row.sha256 if row and same_file else sha256_of(Path(path))
            captions_file = in_folder(Path(path).parent).get(Path(path).stem)
            captions_state = f"{captions_file} {state_of(captions_file)}" if captions_file else ""
        except OSError as error:
            summary.problems.append(f"skipped: {path}: {reason(error)}")
            continue
        except UserError as error:
            summary.problems.append(f"skipped: {error}")
            continue
        if row and (row.sha256, row.captions) == (sha256, captions_state):
            summary.unchanged += 1
            if not same_file:
                values = {"bytes": state.bytes, "modified_ns": state.modified_ns}
                tables.videos.update(where=f"video = {row.video}", values=values)
        else:
            yield Source(listed, state, sha256, captions_file, captions_state)


def _remove_gone(
    tables: Tables, arguments: Sequence[str], known: dict[str, _Row], summary: Summary
) -> None:
    roots = [_folder(Path(argument).absolute()) for argument in arguments]
    gone = [
        row.video
        for path, row in known.items()
        if any(Path(path).is_relative_to(root) for root in roots) and not os.path.exists(path)
    ]
    store.delete(tables.videos, gone)
    summary.removed += len(gone)


def _folder(path: Path) -> Path:
    """Returns the path if it is a folder, otherwise its nearest parent that is one."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _extract(
    sources: Sequence[Source],
    model: VideoTextModel,
    folder: Path,
    num_decoders: int,
    summary: Summary,
) -> list[Source]:
    """Extracts missing features; returns the sources that have features."""
    missing = {
        source.sha256: Listed(source.sha256, source.listed.path)
        for source in sources
        if not feature_folder.features_file(folder, source.sha256).exists()
    }
    if missing:
        log = folder / feature_folder.log_name(listing.Shard())
        outcomes = extraction.extract_all(
            list(missing.values()), model.extractor, folder, log, num_decoders
        )
        for outcome in outcomes:
            if outcome.problem:
                what = "damaged" if outcome.features else "skipped"
                summary.problems.append(f"{what}: {outcome.problem}")
    return [s for s in sources if feature_folder.features_file(folder, s.sha256).exists()]


def _chunks(sources: Sequence[Source], folder: Path) -> Iterator[list[Source]]:
    """Yields groups of videos to write together, with about `AT_ONCE` features each."""
    chunk: list[Source] = []
    size = 0
    for source in tqdm(sources, desc="index", unit="video", leave=False):
        chunk.append(source)
        file = feature_folder.features_file(folder, source.sha256)
        size += len(np.load(file, mmap_mode="r"))
        if size >= AT_ONCE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _add(
    tables: Tables,
    sources: Sequence[Source],
    model: VideoTextModel,
    folder: Path,
    num_decoders: int,
    known: dict[str, _Row],
    summary: Summary,
) -> None:
    """Writes what belongs to the videos, then their rows, which replace earlier ones."""
    sources = list(_as_they_were(sources, summary))
    if not sources:
        return
    files_of = [feature_folder.features_file(folder, source.sha256) for source in sources]
    hidden = model.encode_seconds(files_of)
    lengths = [len(states) for states in hidden]
    videos = np.array([source.video for source in sources])
    columns = {
        "video": videos.repeat(lengths),
        "place": np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        "vector": store.vectors(np.concatenate(hidden)),
    }
    tables.seconds.add(pa.table(columns, schema=tables.schemas["seconds"]))
    seconds = [length * model.exported.seconds_per_feature for length in lengths]
    _add_rows(tables, "captions", _captions_of(sources, seconds, summary))
    _add_rows(tables, "thumbnails", _thumbnails_of(sources, num_decoders))
    rows = [
        {
            "video": source.video,
            "name": source.listed.name,
            "path": source.path,
            "bytes": source.state.bytes,
            "modified_ns": source.state.modified_ns,
            "sha256": source.sha256,
            "captions": source.captions_state,
            "features": len(states),
            "mean": states.mean(axis=0, dtype=np.float32),
        }
        for source, states in zip(sources, hidden, strict=True)
    ]
    merge = tables.videos.merge_insert("path")
    merge = merge.when_matched_update_all().when_not_matched_insert_all()
    merge.execute(pa.Table.from_pylist(rows, schema=tables.schemas["videos"]))
    updated = sum(source.path in known for source in sources)
    summary.updated += updated
    summary.added += len(sources) - updated


def _add_rows(tables: Tables, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    columns = pa.Table.from_pylist(list(rows), schema=tables.schemas[name])
    if len(columns):
        getattr(tables, name).add(columns)


def _as_they_were(sources: Iterable[Source], summary: Summary) -> Iterator[Source]:
    """Yields the sources whose file did not change during extraction."""
    for source in sources:
        try:
            if state_of(source.path) == source.state:
                yield source
                continue
            problem = "changed during indexing; run the command again"
        except OSError as error:
            problem = reason(error)
        summary.problems.append(f"skipped: {source.path}: {problem}")


def _captions_of(
    sources: Iterable[Source], seconds: Iterable[float], summary: Summary
) -> Iterator[dict[str, Any]]:
    for source, length in zip(sources, seconds, strict=True):
        if source.captions is None:
            continue
        try:
            read = subtitles.read(source.captions)
        except UserError as error:
            summary.problems.append(f"without captions: {error}")
            continue
        for caption in captions.clean(read.captions, length)[0]:
            yield {"video": source.video, **caption._asdict()}


def _thumbnails_of(sources: Sequence[Source], num_decoders: int) -> Iterator[dict[str, Any]]:
    videos = [Listed(str(source.video), source.listed.path) for source in sources]
    seconds = Counter[str]()
    with closing(extraction.decoded(videos, _THUMBNAIL, num_decoders, _AHEAD)) as events:
        for video, pixels in events:
            if not isinstance(pixels, np.ndarray):
                continue  # its end; the extraction has reported what can't be decoded
            second = seconds[video.name]
            seconds[video.name] += 1
            if second % store.THUMBNAIL_SECONDS == 0:
                yield {"video": int(video.name), "second": second, "jpeg": _jpeg(pixels[0])}


def _jpeg(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=_JPEG_QUALITY)
    return data.getvalue()


def _forget_features(tables: Tables, folder: Path) -> None:
    """Deletes features of files that are no longer indexed."""
    kept = set(store.column(tables.videos, "sha256").tolist())
    for path in folder.glob("*.npy"):
        if path.stem not in kept:
            path.unlink()
