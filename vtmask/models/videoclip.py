"""VideoCLIP: an encoder for video and one for text (Xu et al., 2021, EMNLP, section 3).

Each modality has its own encoder. Dot products compare their pooled hidden states
(`vtmask.tasks.encoding`). `vtmask.models.vlm` describes batches.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from vtmask import attention, sequence
from vtmask.models.transformer import Bert
from vtmask.models.vlm import VideoTextEncoder, VLMConfig


@dataclasses.dataclass(frozen=True)
class VideoCLIPConfig(VLMConfig):
    """Configuration of a VideoCLIP; `num_layers` belongs to the text encoder.

    Attributes:
      num_video_layers: layers of the video encoder.
    """

    num_video_layers: int = 6


class TextEncoder(Bert):
    """A plain BERT."""

    config: VideoCLIPConfig

    def encode_text(self, text: Array, text_mask: Array, deterministic: bool = True) -> Array:
        """Encodes `[CLS] text`: [B, T], [B, T] -> hidden states [B, T + 1, H]."""
        cls = jnp.full((len(text), 1), self.config.cls_id, text.dtype)
        tokens = sequence.join_text(cls, text)
        position = jnp.arange(tokens.shape[1])
        segment = jnp.zeros_like(position)
        embedded = self.embed_tokens(self.words(tokens), position, segment, deterministic)
        mask = attention.keys(sequence.valid_text(text_mask))
        return self.encode(embedded, mask, deterministic)


class VideoCLIP(nn.Module):
    """VideoCLIP. `vtmask.tasks` calls its methods through `flax.linen.apply`."""

    config: VideoCLIPConfig

    def setup(self) -> None:
        config = self.config
        self.video = VideoTextEncoder(
            dataclasses.replace(config, num_layers=config.num_video_layers)
        )
        self.text = TextEncoder(config)

    def __call__(self, batch: dict[str, Array]) -> tuple[Array, Array]:
        """Encodes videos and texts: hidden states [B, V + 2, H] and [B, T + 1, H].

        Args:
          batch: `video`, `video_mask`, `text` and `text_mask`; see `vtmask.models.vlm`.
        """
        return (
            self.encode_video(batch["video"], batch["video_mask"]),
            self.encode_text(batch["text"], batch["text_mask"]),
        )

    def encode_video(self, video: Array, video_mask: Array, deterministic: bool = True) -> Array:
        """Encodes `[CLS] video [SEP]`: [B, V, feature_size], [B, V] -> [B, V + 2, H]."""
        return self.video.encode_video(video, video_mask, deterministic)

    def encode_text(self, text: Array, text_mask: Array, deterministic: bool = True) -> Array:
        """Encodes `[CLS] text`: [B, T], [B, T] -> hidden states [B, T + 1, H]."""
        return self.text.encode_text(text, text_mask, deterministic)
