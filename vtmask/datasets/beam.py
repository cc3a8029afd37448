"""Records made on Apache Beam (the optional extra `beam`)."""

import pickle
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import apache_beam as beam

from vtmask.datasets.entries import Entry
from vtmask.datasets.making import RecordMaker
from vtmask.datasets.report import Counts

_ENTRIES_PER_FILE = 1000


class Examples(beam.PTransform):
    """The ids and records of all usable videos; every video's outcome is counted in `folder`.

    Entries travel to the workers in files in `folder`, which all workers must reach: a pipeline's
    graph has no room for the captions of a million videos.
    """

    def __init__(self, entries: Iterable[Entry], maker: RecordMaker, folder: Path):
        super().__init__()
        self._maker, self._folder = maker, folder
        self._files = [str(path) for path in _write(entries, folder)]

    def expand(self, pipeline: Any) -> beam.PCollection:
        made = (
            pipeline
            | beam.Create(self._files)
            | beam.FlatMap(_read)
            | beam.Reshuffle()
            | beam.FlatMap(_make, self._maker).with_outputs("counts", main="examples")
        )
        total = made.counts | beam.CombineGlobally(_sum)
        total | beam.Map(Counts.write, self._folder)
        return made.examples


def _write(entries: Iterable[Entry], folder: Path) -> Iterator[Path]:
    entries = iter(entries)
    for number in count():
        some = list(islice(entries, _ENTRIES_PER_FILE))
        if not some:
            return
        path = folder / f"entries-{number}.pickle"
        path.write_bytes(pickle.dumps(some))
        yield path


def _read(path: str) -> list[Entry]:
    return pickle.loads(Path(path).read_bytes())


def _sum(counts: Iterable[Counts]) -> Counts:
    total = Counts()
    for some in counts:
        total += some
    return total


def _make(entry: Entry, maker: RecordMaker) -> Iterator[Any]:
    example, counts = maker(entry)
    yield beam.pvalue.TaggedOutput("counts", counts)
    if example is not None:
        yield example
