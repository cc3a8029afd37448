"""VLM: one encoder for video, text or both (Xu et al., 2021, section 3).

The model embeds and encodes; masks (`vtmask.attention`, `vtmask.masking`) and losses make a task
of it (`vtmask.tasks`). A batch is a dict of

- `video`: features, float [B, V, feature_size], zero where absent; one a second, as published;
- `video_mask`: bool [B, V];
- `text`: token ids, int [B, T]: the text, [SEP], then [PAD];
- `text_mask`: bool [B, T], True for the text and its [SEP].

Positions as published: [CLS] 0, frames from 1, the video's [SEP] V + 1, text from V + 2. Segment 0
up to and including the video's [SEP], 1 after it.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from vtmask import attention
from vtmask.errors import UserError, check_choice
from vtmask.models.transformer import (
    REMAT_POLICIES,
    Bert,
    EncoderConfig,
    dense,
    gelu,
    layer_norm,
)

VIDEO_MLP_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class VLMConfig(EncoderConfig):
    """Sizes and special tokens of a VLM.

    Attributes:
      max_video_len: V, frames (seconds) a clip.
      max_len: L, positions a sequence; T = max_len - max_video_len - 2 of them are text.
      num_classes: of the classifier's output; 0 is a model without a classifier.
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
        if not self.max_video_len + 2 < self.max_len <= self.num_positions:
            raise UserError(
                f"config.model.max_len is {self.max_len}, expected more than max_video_len + 2 = "
                f"{self.max_video_len + 2} and at most {self.num_positions}"
            )

    @property
    def max_text_len(self) -> int:
        """T: text tokens a sequence, the closing [SEP] included."""
        return self.max_len - self.max_video_len - 2


class VideoMLP(nn.Module):
    """Features to video tokens: [..., feature_size] -> [..., H]."""

    config: VLMConfig

    @nn.compact
    def __call__(self, features: Array) -> Array:
        config = self.config
        x = dense(config, config.hidden_size, "in")(features.astype(config.dtype))
        x = gelu(x)
        x = layer_norm(config, "norm", VIDEO_MLP_EPSILON)(x)
        return dense(config, config.hidden_size, "out")(x)


class PredictionHead(nn.Module):
    """Hidden states to where tokens and frames are scored: [..., H] -> [..., H]."""

    config: VLMConfig

    @nn.compact
    def __call__(self, hidden: Array) -> Array:
        config = self.config
        x = gelu(dense(config, config.hidden_size, "dense")(hidden))
        return layer_norm(config, "norm")(x)


class VideoTextEncoder(Bert):
    """Video, text or both through one encoder."""

    config: VLMConfig

    def setup(self) -> None:
        super().setup()
        self.video_mlp = VideoMLP(self.config)

    def video_tokens(self, features: Array) -> Array:
        """Video tokens of features [..., feature_size], before positions: [..., H]."""
        return self.video_mlp(features)

    def masked_video_token(self) -> Array:
        """The token that stands for a masked frame, that of a zero feature: [H]."""
        return self.video_mlp(jnp.zeros(self.config.feature_size))

    def embed(self, video_tokens: Array, text: Array, deterministic: bool = True) -> Array:
        """`[CLS] video [SEP] text` with positions and segments: [B, V, H], [B, T] -> [B, L, H].

        V and T may be less than the model's, or 0; the video's [SEP] and the text keep their
        positions.
        """
        config = self.config
        special = self.words(jnp.array([[[config.cls_id]], [[config.sep_id]]]))
        cls, sep = jnp.broadcast_to(special, (2, len(text), 1, config.hidden_size))
        tokens = jnp.concatenate([cls, video_tokens, sep, self.words(text)], axis=1)
        text_start = config.max_video_len + 2
        frames = jnp.arange(video_tokens.shape[1] + 1)
        position = jnp.append(frames, jnp.arange(text_start - 1, text_start + text.shape[1]))
        segment = (position >= text_start).astype(jnp.int32)
        return self.embed_tokens(tokens, position, segment, deterministic)

    def embed_text(self, text: Array, position: Array) -> Array:
        """Text as `embed` does it, without dropout: [...] ids at a text position [] -> [..., H]."""
        place = self.config.max_video_len + 2 + position
        return self.embed_tokens(self.words(text), place, jnp.ones_like(text))

    def encode_video(self, video: Array, video_mask: Array, deterministic: bool = True) -> Array:
        """Hidden states of `[CLS] video [SEP]` alone: [B, V, size], [B, V] -> [B, V + 2, H]."""
        no_text = jnp.zeros((len(video), 0), jnp.int32)
        embedded = self.embed(self.video_tokens(video), no_text, deterministic)
        mask = attention.padding(video_mask, no_text.astype(bool))
        return self.encode(embedded, mask, deterministic)


class VLM(VideoTextEncoder):
    """The model. `vtmask.tasks` calls its methods through `flax.linen.apply`."""

    def setup(self) -> None:
        super().setup()
        config = self.config
        self.head = PredictionHead(config)
        self.decoder_bias = self.param("decoder_bias", nn.initializers.zeros, (config.vocab_size,))
        if config.num_classes:
            self.classifier = dense(config, config.num_classes, "classifier")

    def __call__(self, batch: dict[str, Array]) -> Array:
        """Hidden states of the whole sequence after the last layer and the head: [B, L, H]."""
        mask = attention.padding(batch["video_mask"], batch["text_mask"])
        embedded = self.embed(self.video_tokens(batch["video"]), batch["text"])
        hidden = self.encode(embedded, mask)
        if self.config.num_classes and self.is_initializing():
            self.classify(hidden)
        return self.head(hidden)

    def encode_text(self, text: Array, text_mask: Array, deterministic: bool = True) -> Array:
        """Hidden states of `[CLS] text` alone, each at its place in a sequence with a video:
        [B, T], [B, T] -> [B, T + 1, H]."""
        no_video = jnp.zeros((len(text), 0, self.config.hidden_size))
        embedded = self.embed(no_video, text, deterministic)
        embedded = jnp.concatenate([embedded[:, :1], embedded[:, 2:]], axis=1)
        mask = jnp.pad(text_mask, ((0, 0), (1, 0)), constant_values=True)
        return self.encode(embedded, mask[:, None, None, :], deterministic)

    def classify(self, hidden: Array) -> Array:
        """Class scores of hidden states, float32: [..., H] -> [..., num_classes]."""
        return self.classifier(hidden).astype(jnp.float32)

    def vocabulary(self) -> Array:
        """The word embeddings, which score masked tokens too: [vocab_size, H]."""
        return self.words.embedding

    def vocabulary_bias(self) -> Array:
        """Bias of the vocabulary's scores in MFM+MLM and captioning: [vocab_size]."""
        return self.decoder_bias
