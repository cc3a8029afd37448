"""Options of a conversion."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of a model that published weights do not contain.

    Attributes:
      vocab: the tokenizer's file, by default the one in a Hugging Face folder.
      num_heads: attention heads; by default from config.json, or hidden_size / 64.
      max_video_len, max_len: see `vtmask.models.VLMConfig`.
      feature_extractor: name of the extractor of the features, one a second.
      class_names: file with the names of a classifier's classes, one per line.
      isolated_layers: number of isolated layers with which a VLM was fine-tuned, 12 as published;
        None is as in pre-training, see `vtmask.tasks.encoding`.
    """

    vocab: Path | None = None
    num_heads: int | None = None
    max_video_len: int = 32
    max_len: int = 96
    feature_extractor: str = "s3d-howto100m"
    class_names: Path | None = None
    isolated_layers: int | None = None
