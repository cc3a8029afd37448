"""Extracts features of many videos on Apache Beam (the optional extra `beam`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from vtmask.features import extraction, feature_folder
from vtmask.features.extractors import ExtractorConfig, FeatureExtractor
from vtmask.features.feature_folder import Outcome
from vtmask.features.listing import Listed


def extract_all(
    videos: Sequence[Listed], config: ExtractorConfig, folder: Path, log: Path, options: Any
) -> list[Outcome]:
    """Does what `vtmask.features.extraction.extract_all` does; every worker has its own log.

    Args:
      config: from which every worker makes its extractor.
      folder: a path that all workers can reach, as they must the videos and the weights.
      log: file for the outcomes of videos that no worker gets.
      options: `apache_beam.options.pipeline_options.PipelineOptions`.
    """
    feature_folder.write_card(folder, config.create())
    todo = extraction.plan(videos, folder, log)
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | beam.Create(todo)
            | beam.Reshuffle()
            | beam.ParDo(_Extract(config, folder.absolute()))
        )
    return feature_folder.outcomes_of(videos, folder)


class _Extract(beam.DoFn):
    """Writes the features of videos."""

    def __init__(self, config: ExtractorConfig, folder: Path):
        self._config, self._folder = config, folder
        self._extractor: FeatureExtractor | None = None

    def setup(self) -> None:
        self._extractor = self._config.create()

    def process(self, video: Listed) -> None:
        assert self._extractor is not None
        log = self._folder / f"extracted-{feature_folder.this_process()}.jsonl"
        for _ in extraction.extract([video], self._extractor, self._folder, log, num_decoders=1):
            pass
