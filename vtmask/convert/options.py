"""Options of a conversion."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Options:
    """What published weights do not say.

    Attributes:
      vocab: the tokenizer's file, by default that of a Hugging Face folder.
      num_heads: attention heads; by default as config.json says, or hidden_size / 64.
      max_video_len, max_len: see `vtmask.models.VLMConfig`.
      feature_extractor: name of what made the features, one a second.
      class_names: file with the names of a classifier's classes, one a line.
      isolated_layers: how many a VLM was fine-tuned with, 12 as published; None is the form of
        pre-training, see `vtmask.tasks.encoding`.
    """

    vocab: Path | None = None
    num_heads: int | None = None
    max_video_len: int = 32
    max_len: int = 96
    feature_extractor: str = "s3d-howto100m"
    class_names: Path | None = None
    isolated_layers: int | None = None
