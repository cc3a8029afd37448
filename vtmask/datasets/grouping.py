"""Groups the rows of tables, in any order, in bounded memory."""

import contextlib
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow

BUCKETS = 128
Row = dict[str, str]


class Groups:
    """Rows on disk, in `BUCKETS` files by a hash of a column, until the object is deleted.

    One file at a time is in memory. The files are in TMPDIR and take as much space as the rows.

    Attributes:
      values: the distinct values of the column `apart`, in the order in which they first occur;
        `read` reads the rows of one value.
    """

    def __init__(self, batches: Iterable["pyarrow.RecordBatch"], by: str, apart: str | None = None):
        """Writes all batches to disk; their columns are text.

        Args:
          by: the column to group by.
          apart: the column of `values`; None stands for a single value, "".
        """
        self._folder = tempfile.TemporaryDirectory(prefix="vtmask-rows-")
        self._by, self._apart = by, apart
        self.values = self._write(batches)

    def _write(self, batches: Iterable["pyarrow.RecordBatch"]) -> tuple[str, ...]:
        import pyarrow

        values: dict[str, None] = {} if self._apart else {"": None}
        with contextlib.ExitStack() as stack:
            writers: dict[int, pyarrow.ipc.RecordBatchStreamWriter] = {}
            for batch in batches:
                if self._apart:
                    values |= dict.fromkeys(batch.column(self._apart).unique().to_pylist())
                names = batch.column(self._by).to_pylist()
                buckets = np.array([zlib.crc32(name.encode()) % BUCKETS for name in names])
                for bucket in np.unique(buckets).tolist():
                    if bucket not in writers:
                        new = pyarrow.ipc.new_stream(str(self._path(bucket)), batch.schema)
                        writers[bucket] = stack.enter_context(new)
                    writers[bucket].write_batch(batch.take(np.flatnonzero(buckets == bucket)))
        return tuple(values)

    def read(self, value: str) -> Iterator[tuple[str, list[Row]]]:
        """Yields each group and its rows with this value, in order; a row is column → text."""
        import pyarrow

        for bucket in range(BUCKETS):
            if not self._path(bucket).exists():
                continue
            with pyarrow.ipc.open_stream(str(self._path(bucket))) as stream:
                rows = stream.read_all().to_pylist()
            groups = defaultdict[str, list[Row]](list)
            for row in rows:
                if self._apart is None or row[self._apart] == value:
                    groups[row[self._by]].append(row)
            yield from groups.items()

    def _path(self, bucket: int) -> Path:
        return Path(self._folder.name) / f"{bucket}.arrow"
