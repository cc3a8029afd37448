"""An index on disk: a folder of LanceDB tables.

index.json        a `Card`: what made the index
features/         as `vtmask extract` writes them, named by the hash of their video
videos.lance      one row per video, written last; rows of other tables count only if theirs exists
seconds.lance     one vector per feature of a video
captions.lance    one timed text per row
thumbnails.lance  one JPEG per `THUMBNAIL_SECONDS`
"""

import contextlib
import dataclasses
import datetime
import fcntl
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import FTS, BTree, IvfRq
from lancedb.table import Table

from vtmask import files
from vtmask.disk import write_whole
from vtmask.errors import UserError, reason

THUMBNAIL_SECONDS = 2
EXACT_UP_TO = 200_000  # seconds; a larger table gets a vector index
_FRAGMENTS = 100  # small fragments of a table; more are merged
_UNINDEXED = 0.2  # fraction of a table's rows that its indices may lack
_ROOT_PER_PARTITION = 8  # square root of the rows, divided by the number of partitions
_PROBES = 40  # partitions of the vector index that a query searches
_REFINE = 5  # candidates scored exactly, per result
_CARD = "index.json"
_LOCK = ".lock"
_BATCH = 1000  # ids per condition


@dataclasses.dataclass(frozen=True)
class Card:
    """The model and the features of an index.

    Attributes:
      model: folder of the export.
      model_sha256: of the export's files.
      s3d_weights: the weights that made the features, if these are S3D's.
      feature_extractor, seconds_per_feature: of the features.
      size: numbers in a vector.
    """

    model: str
    model_sha256: str
    s3d_weights: str | None
    feature_extractor: str
    seconds_per_feature: float
    size: int


def read_card(folder: Path) -> Card:
    """Reads the card of an index; a UserError if the folder has no index."""
    path = folder / _CARD
    if not path.exists():
        raise UserError(
            f"{folder}: is not an index; `vtmask index VIDEOS --model EXPORT --out INDEX` makes one"
        )
    fields = files.read_json(path)
    try:
        return Card(**fields)
    except TypeError:
        raise _damaged(folder, f"{_CARD} has other fields than expected") from None


@contextlib.contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Turns LanceDB's errors about an index's files into a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, pa.ArrowException) as error:
        raise _damaged(folder, reason(error)[:200]) from error


def _damaged(folder: Path, why: str) -> UserError:
    return UserError(
        f"{folder}: index is damaged ({why}); delete the folder and run `vtmask index` again"
    )


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Locks the index; a UserError if another command is adding to it."""
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another command is adding to this index; wait until it ends"
            ) from None
        yield


def create(folder: Path, card: Card) -> None:
    """Makes an empty index unless the folder has one.

    Raises:
      UserError: the folder has an index that something else made, or other files.
    """
    if (folder / _CARD).exists():
        existing = read_card(folder)
        for field in ("feature_extractor", "seconds_per_feature", "size", "model_sha256"):
            if getattr(existing, field) != getattr(card, field):
                name = field.removesuffix("_sha256")
                raise UserError(
                    f"{folder}: was made with {name} {getattr(existing, name)!r}, not "
                    f"{getattr(card, name)!r}; pass that model, or another --out"
                )
        if existing != card:  # the model or its weights were moved
            write_whole(folder / _CARD, json.dumps(dataclasses.asdict(card), indent=2) + "\n")
        return
    if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UserError(f"{folder}: has files, but no index; pass another --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _CARD, json.dumps(dataclasses.asdict(card), indent=2) + "\n")


def schemas(size: int) -> dict[str, pa.Schema]:
    """Returns the schema of each table, with vectors of `size` numbers."""
    video = pa.field("video", pa.int64())
    return {
        "videos": pa.schema(
            [
                video,
                ("name", pa.string()),
                ("path", pa.string()),
                ("bytes", pa.int64()),
                ("modified_ns", pa.int64()),
                ("sha256", pa.string()),
                ("captions", pa.string()),
                ("features", pa.int64()),
                ("mean", pa.list_(pa.float32(), size)),
            ]
        ),
        "seconds": pa.schema(
            [video, ("place", pa.int32()), ("vector", pa.list_(pa.float32(), size))]
        ),
        "captions": pa.schema(
            [video, ("start", pa.float32()), ("end", pa.float32()), ("text", pa.string())]
        ),
        "thumbnails": pa.schema([video, ("second", pa.int32()), ("jpeg", pa.binary())]),
    }


class Tables:
    """The tables of an index; missing ones are created.

    Raises:
      UserError: an earlier version of vtmask made a table, with other columns.
    """

    def __init__(self, folder: Path, size: int):
        self.schemas = schemas(size)
        # A search sees everything that was committed before it.
        database = lancedb.connect(str(folder), read_consistency_interval=datetime.timedelta(0))
        self.videos, self.seconds, self.captions, self.thumbnails = (
            _open(database, folder, name, schema) for name, schema in self.schemas.items()
        )
        if not self.captions.list_indices():
            # ICU finds the words of any script.
            words = FTS(base_tokenizer="icu", remove_stop_words=False)
            self.captions.create_index("text", config=words)

    def parts(self) -> tuple[Table, ...]:
        """The tables whose rows belong to a row of `videos`."""
        return self.seconds, self.captions, self.thumbnails

    def remove_orphans(self) -> None:
        """Deletes rows of videos that are not in `videos`: replaced, removed, or left by a kill."""
        kept = set(column(self.videos, "video").tolist())
        for table in self.parts():
            orphans = [v for v in np.unique(column(table, "video")).tolist() if v not in kept]
            delete(table, orphans)

    def tidy(self) -> None:
        """Merges many small additions to a table into few, and creates or extends indices."""
        for table in (self.videos, *self.parts()):
            unindexed = sum(
                stats.num_unindexed_rows
                for index in table.list_indices()
                if (stats := table.index_stats(index.name))
            )
            size: Any = table.stats()  # a dict, whatever its annotation says
            if (
                size["fragment_stats"]["num_small_fragments"] > _FRAGMENTS
                or unindexed > _UNINDEXED * table.count_rows()
            ):
                table.optimize(cleanup_older_than=datetime.timedelta(hours=1))
        if self.seconds.count_rows() > EXACT_UP_TO and not any(
            "vector" in index.columns for index in self.seconds.list_indices()
        ):
            self.make_vector_index()

    def make_vector_index(self) -> None:
        """Makes a RaBitQ index of 4 bits per number; benchmarks/search.py compares it with others.

        Most of the work finds the centres of partitions, so their number grows only with the square
        root of the rows.
        """
        partitions = max(int(self.seconds.count_rows() ** 0.5 / _ROOT_PER_PARTITION), 1)
        config = IvfRq(distance_type="dot", num_bits=4, num_partitions=partitions)
        self.seconds.create_index("vector", config=config)
        for table in (self.seconds, self.thumbnails):
            table.create_index("video", config=BTree())


def _open(database: Any, folder: Path, name: str, schema: pa.Schema) -> Table:
    try:
        return database.create_table(name, schema=schema, exist_ok=True)
    except ValueError as error:
        if database.open_table(name).schema == schema:
            raise
        raise UserError(
            f"{folder}: was made by an earlier version of vtmask; delete the folders *.lance in it "
            "and run `vtmask index` again, which keeps the extracted features"
        ) from error


def nearest(seconds: Table, vector: np.ndarray, count: int, where: str = "") -> pa.Table:
    """Returns the seconds with the highest dot products, best first: video, place and score.

    Without a vector index, the search is exact. With one, its best candidates are scored exactly.
    """
    query: Any = seconds.search(vector, vector_column_name="vector")
    query = query.distance_type("dot").nprobes(_PROBES).refine_factor(_REFINE)
    if where:
        query = query.where(where, prefilter=True)
    rows = query.limit(count).select(["video", "place", "_distance"]).to_arrow()
    scores = pa.array(1 - rows["_distance"].to_numpy())
    return rows.drop_columns(["_distance"]).append_column("score", scores)


def column(table: Table, name: str) -> np.ndarray:
    """Reads a column of all rows."""
    return table.search().select([name]).to_arrow()[name].to_numpy()


def delete(table: Table, videos: Sequence[int]) -> None:
    """Deletes the rows of videos."""
    for first in range(0, len(videos), _BATCH):
        table.delete(among(videos[first : first + _BATCH]))


def among(videos: Sequence[int]) -> str:
    """Returns the SQL condition that a row belongs to one of the videos."""
    return f"video IN ({', '.join(map(str, videos))})"


def vectors(values: np.ndarray) -> pa.FixedSizeListArray:
    """Converts [rows, size] to a column of vectors."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def matrix(column: pa.ChunkedArray, size: int) -> np.ndarray:
    """Converts a column of vectors to float32 [rows, size]."""
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, size).astype(np.float32)
