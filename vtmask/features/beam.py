"""Features of many videos on Apache Beam (the optional extra `beam`)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from vtmask.features import extraction
from vtmask.features.extraction import Outcome
from vtmask.features.extractors import ExtractorConfig, FeatureExtractor
from vtmask.features.listing import Listed


def extract_all(
    videos: Sequence[Listed], config: ExtractorConfig, folder: Path, log: Path, options: Any
) -> list[Outcome]:
    """As `vtmask.features.extraction.extract_all`.

    Args:
      config: what every worker makes its extractor of.
      folder, log: at paths that all workers reach, as videos and weights must be.
      options: `apache_beam.options.pipeline_options.PipelineOptions`.
    """
    extraction.write_card(folder, config.create())
    todo = extraction.plan(videos, folder, log)
    before = extraction.read_log(log)
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | beam.Create(todo)
            | beam.Reshuffle()
            | beam.ParDo(_Extract(config, folder))
            | beam.CombineGlobally(beam.combiners.ToListCombineFn())
            | beam.Map(lambda outcomes: extraction.write_log(log, before + outcomes))
        )
    return extraction.outcomes_of(videos, log)


class _Extract(beam.DoFn):
    """Videos to outcomes; their features are written."""

    def __init__(self, config: ExtractorConfig, folder: Path):
        self._config, self._folder = config, folder
        self._extractor: FeatureExtractor | None = None

    def setup(self) -> None:
        self._extractor = self._config.create()

    def process(self, video: Listed) -> Iterator[Outcome]:
        assert self._extractor is not None
        yield extraction.extract_one(video, self._extractor, self._folder)
