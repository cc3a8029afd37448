"""VLM: one encoder for video, text or both (Xu et al., 2021, section 3).

The model embeds and encodes sequences (`vtmask.sequence`). Tasks (`vtmask.tasks`) add masks
(`vtmask.attention`, `vtmask.masking`) and losses. A batch is a dict of

- `video`: features, float [B, V, feature_size], zero if absent; one per second, as published;
- `video_mask`: bool [B, V];
- `text`: token ids, int [B, T]: the text, [SEP], then [PAD];
- `text_mask`: bool [B, T], True for the text and its [SEP].
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from vtmask import attention, sequence
from vtmask.errors import UserError, check_choice
from vtmask.models.layers import REMAT_POLICIES, EncoderConfig, dense, gelu, layer_norm
from vtmask.models.transformer import Bert

VIDEO_MLP_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class VLMConfig(EncoderConfig):
    """Configuration of a VLM.

    Attributes:
      max_video_len: V, frames (seconds) of a clip.
      max_len: L, positions of a sequence; `max_text_len` of them are text.
      num_classes: outputs of the classifier; 0 omits the classifier.
      pad_id, cls_id, sep_id, mask_id: special tokens.
    """

    feature_size: int = 512
    max_video_len: int = 32
    max_len: int = 96
    num_classes: int = 0
    pad_id: int = 0
    cls_id: int = 2
    sep_id: int = 3
    mask_id: int = 4

    def __post_init__(self) -> None:
        check_choice("config.model.dtype", self.dtype, ("float32", "bfloat16"))
        check_choice("config.model.remat", self.remat, REMAT_POLICIES)
        if self.remat != "none" and not self.scan_layers:
            raise UserError(
                f"config.model.remat is {self.remat}, which needs config.model.scan_layers=True"
            )
        if self.hidden_size % self.num_heads:
            raise UserError(
                f"config.model.hidden_size is {self.hidden_size}, expected a multiple of "
                f"num_heads {self.num_heads}"
            )
        if self.max_text_len < 1 or self.max_len > self.num_positions:
            raise UserError(
                f"config.model.max_len is {self.max_len}, expected more than max_video_len + 2 = "
                f"{self.max_video_len + 2} and at most {self.num_positions}"
            )

    @property
    def max_text_len(self) -> int:
        """T: text tokens of a sequence, including the closing [SEP]."""
        return sequence.max_text_len(self.max_len, self.max_video_len)


class VideoMLP(nn.Module):
    """Maps features to video tokens (VLM, section 3.1)."""

    config: VLMConfig

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Maps features to video tokens: [..., feature_size] -> [..., H]."""
        config = self.config
        x = dense(config, config.hidden_size, "in")(features.astype(config.dtype))
        x = gelu(x)
        x = layer_norm(config, "norm", VIDEO_MLP_EPSILON)(x)
        return dense(config, config.hidden_size, "out")(x)


class PredictionHead(nn.Module):
    """BERT's prediction head up to the decoder, which is a matmul with embeddings."""

    config: VLMConfig

    @nn.compact
    def __call__(self, hidden: Array) -> Array:
        """Maps hidden states to the space of the embeddings: [..., H] -> [..., H]."""
        config = self.config
        x = gelu(dense(config, config.hidden_size, "dense")(hidden))
        return layer_norm(config, "norm")(x)


class VideoTextEncoder(Bert):
    """One encoder for video, text or both."""

    config: VLMConfig

    def setup(self) -> None:
        super().setup()
        self.video_mlp = VideoMLP(self.config)

    def video_tokens(self, features: Array) -> Array:
        """Maps features to video tokens without positions: [..., feature_size] -> [..., H]."""
        return self.video_mlp(features)

    def masked_video_token(self) -> Array:
        """Returns the token that replaces a masked frame, which is that of a zero feature: [H]."""
        return self.video_mlp(jnp.zeros(self.config.feature_size))

    def embed(self, video_tokens: Array, text: Array, deterministic: bool = True) -> Array:
        """Embeds a sequence: video tokens [B, V, H] and token ids [B, T] -> [B, L, H].

        V and T may be smaller than the model's, or 0.
        """
        config = self.config
        special = self.words(jnp.array([[[config.cls_id]], [[config.sep_id]]]))
        cls, separator = jnp.broadcast_to(special, (2, len(text), 1, config.hidden_size))
        lengths = video_tokens.shape[1], text.shape[1]
        return self.embed_tokens(
            sequence.join(cls, video_tokens, separator, self.words(text)),
            sequence.positions(*lengths, config.max_video_len),
            sequence.segments(*lengths),
            deterministic,
        )

    def embed_text(self, text: Array, place: Array) -> Array:
        """Embeds text tokens as `embed` does, without dropout: ids int [...] -> [..., H].

        Args:
          place: int [], index of the tokens in the text, from 0.
        """
        position = sequence.text_position(self.config.max_video_len) + place
        return self.embed_tokens(self.words(text), position, jnp.ones_like(text))

    def encode_video(self, video: Array, video_mask: Array, deterministic: bool = True) -> Array:
        """Encodes `[CLS] video [SEP]`: [B, V, feature_size], [B, V] -> [B, V + 2, H]."""
        no_text = jnp.zeros((len(video), 0), jnp.int32)
        embedded = self.embed(self.video_tokens(video), no_text, deterministic)
        mask = attention.padding(video_mask, no_text.astype(bool))
        return self.encode(embedded, mask, deterministic)


class VLM(VideoTextEncoder):
    """VLM: an encoder with a prediction head and, if `config.num_classes`, a classifier.

    `vtmask.tasks` calls its methods through `flax.linen.apply`.
    """

    def setup(self) -> None:
        super().setup()
        config = self.config
        self.head = PredictionHead(config)
        self.decoder_bias = self.param("decoder_bias", nn.initializers.zeros, (config.vocab_size,))
        if config.num_classes:
            self.classifier = dense(config, config.num_classes, "classifier")

    def __call__(self, batch: dict[str, Array]) -> Array:
        """Encodes a batch and applies the prediction head: [B, L, H].

        Args:
          batch: `video`, `video_mask`, `text` and `text_mask`; see the module.
        """
        mask = attention.padding(batch["video_mask"], batch["text_mask"])
        embedded = self.embed(self.video_tokens(batch["video"]), batch["text"])
        hidden = self.encode(embedded, mask)
        if self.config.num_classes and self.is_initializing():
            self.classify(hidden)
        return self.head(hidden)

    def encode_text(self, text: Array, text_mask: Array, deterministic: bool = True) -> Array:
        """Encodes `[CLS] text`: [B, T], [B, T] -> [B, T + 1, H].

        The positions are those of a sequence with a video.
        """
        no_video = jnp.zeros((len(text), 0, self.config.hidden_size))
        parts = sequence.split(self.embed(no_video, text, deterministic), num_frames=0)
        embedded = sequence.join_text(parts.cls, parts.text)
        mask = attention.keys(sequence.valid_text(text_mask))
        return self.encode(embedded, mask, deterministic)

    def classify(self, hidden: Array) -> Array:
        """Scores the classes for hidden states: [..., H] -> float32 [..., num_classes]."""
        return self.classifier(hidden).astype(jnp.float32)

    def vocabulary(self) -> Array:
        """Returns the word embeddings, which also score masked tokens: [vocab_size, H]."""
        return self.words.embedding

    def vocabulary_bias(self) -> Array:
        """Returns the bias of the vocabulary's scores in MFM+MLM and captioning: [vocab_size]."""
        return self.decoder_bias
