"""S3D-G with its text tower, as trained on HowTo100M with MIL-NCE (Miech et al., CVPR 2020).

The video tower is the separable Inception of Xie et al. (ECCV 2018) with self-gating, on frames
whose blocks of 2 x 2 x 2 pixels are folded into channels. Layers have the names of the published
PyTorch weights (`s3d_howto100m.pth`), which `vtmask.convert.s3d_from_published` reads.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

EMBEDDING_SIZE = 512
MAX_WORDS = 16  # of a sentence; as published, the rest is cut off
_BATCH_NORM_EPSILON = 1e-5
_WORD_SIZE, _TEXT_SIZE = 300, 2048

# Kernels (time, height, width) of convolutions; a separable one has two.
_STEM = ((2, 4, 4),)
_POINTWISE = ((1, 1, 1),)
_SEPARABLE = ((1, 3, 3), (3, 1, 1))

# Widths of a block's branches: 1x1x1; 1x1x1, 3x3x3; 1x1x1, 3x3x3; pooling, 1x1x1.
Widths = tuple[int, int, int, int, int, int]
_MIXED_3 = {"b": (64, 96, 128, 16, 32, 32), "c": (128, 128, 192, 32, 96, 64)}
_MIXED_4 = {
    "b": (192, 96, 208, 16, 48, 64),
    "c": (160, 112, 224, 24, 64, 64),
    "d": (128, 128, 256, 24, 64, 64),
    "e": (112, 144, 288, 32, 64, 64),
    "f": (256, 160, 320, 32, 128, 128),
}
_MIXED_5 = {"b": (256, 160, 320, 32, 128, 128), "c": (384, 192, 384, 48, 128, 128)}


class ConvNorm(nn.Module):
    """Convolution, batch normalisation with stored statistics, and ReLU."""

    features: int
    kernel_size: tuple[int, int, int]
    dtype: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, H, W, C] -> [B, T, H, W, features]."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        scale, bias = self.param("scale", ones, shape[-1:]), self.param("bias", zeros, shape[-1:])
        mean, var = self.param("mean", zeros, shape[-1:]), self.param("var", ones, shape[-1:])
        gain = scale * lax.rsqrt(var + _BATCH_NORM_EPSILON)
        x = convolve(x, (kernel * gain).astype(self.dtype))
        return nn.relu(x + (bias - mean * gain).astype(self.dtype))


class Conv(nn.Module):
    """One or two `ConvNorm`s of the same width, `conv1` and `conv2`."""

    features: int
    kernel_sizes: Sequence[tuple[int, int, int]]
    dtype: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, H, W, C] -> [B, T', H', W', features]; strides shrink T, H and W."""
        for i, kernel_size in enumerate(self.kernel_sizes, 1):
            x = ConvNorm(self.features, kernel_size, self.dtype, name=f"conv{i}")(x)
        return x


class SelfGating(nn.Module):
    """S3D's self-gating: weights channels by their averages over space and time."""

    dtype: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, H, W, C] -> [B, T, H, W, C]."""
        average = x.mean((1, 2, 3), keepdims=True, dtype=jnp.float32)
        return x * nn.sigmoid(nn.Dense(x.shape[-1], dtype=self.dtype, name="fc")(average))


class Mixed(nn.Module):
    """An Inception block whose branches are gated."""

    widths: Widths
    dtype: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, H, W, C] -> [B, T, H, W, sum of the branches' widths]."""

        def conv(branch: str, features: int, kernel_sizes: Sequence, x: Array) -> Array:
            return Conv(features, kernel_sizes, self.dtype, name=f"conv_{branch}")(x)

        b0, b1_a, b1_b, b2_a, b2_b, b3_b = self.widths
        branches = (
            conv("b0", b0, _POINTWISE, x),
            conv("b1_b", b1_b, _SEPARABLE, conv("b1_a", b1_a, _POINTWISE, x)),
            conv("b2_b", b2_b, _SEPARABLE, conv("b2_a", b2_a, _POINTWISE, x)),
            conv("b3_b", b3_b, _POINTWISE, max_pool(x, (3, 3, 3), (1, 1, 1))),
        )
        gated = [SelfGating(self.dtype, name=f"gating_b{i}")(x) for i, x in enumerate(branches)]
        return jnp.concatenate(gated, axis=-1)


class VideoTower(nn.Module):
    """The video tower."""

    dtype: str

    @nn.compact
    def __call__(self, frames: Array) -> tuple[Array, Array]:
        """Embeds frames, uint8 [B, T, H, W, 3]: [B, 512], and `mixed_5c` [B, 1024]."""

        def mixed(number: int, blocks: Mapping[str, Widths], x: Array) -> Array:
            for letter, widths in blocks.items():
                x = Mixed(widths, self.dtype, name=f"mixed_{number}{letter}")(x)
            return x

        x = space_to_depth(frames).astype(self.dtype) / 255
        x = Conv(64, _STEM, self.dtype, name="conv1")(x)
        x = max_pool(x, (1, 3, 3), (1, 2, 2))
        x = Conv(64, _POINTWISE, self.dtype, name="conv_2b")(x)
        x = Conv(192, _SEPARABLE, self.dtype, name="conv_2c")(x)
        x = SelfGating(self.dtype, name="gating")(x)
        x = mixed(3, _MIXED_3, max_pool(x, (1, 3, 3), (1, 2, 2)))
        x = mixed(4, _MIXED_4, max_pool(x, (3, 3, 3), (2, 2, 2)))
        x = mixed(5, _MIXED_5, max_pool(x, (2, 2, 2), (2, 2, 2)))
        mixed_5c = x.mean((1, 2, 3), dtype=jnp.float32)
        return nn.Dense(EMBEDDING_SIZE, name="fc")(mixed_5c), mixed_5c


class TextTower(nn.Module):
    """Embeds a sentence: the maximum of its words' activations, and a linear layer."""

    vocab_size: int
    dtype: str

    @nn.compact
    def __call__(self, words: Array) -> Array:
        """Embeds words, int [B, MAX_WORDS]: [B, 512]; 0 is no word."""
        x = nn.Embed(self.vocab_size, _WORD_SIZE, dtype=self.dtype, name="word_embd")(words)
        x = nn.relu(nn.Dense(_TEXT_SIZE, dtype=self.dtype, name="fc1")(x))
        return nn.Dense(EMBEDDING_SIZE, name="fc2")(x.max(1))


class S3D(nn.Module):
    """Both towers; the dot product of their embeddings scores how well video and text match.

    Attributes:
      vocab_size: rows of the word table; the published one has 66,250.
      dtype: of activations, "float32" or "bfloat16"; parameters and results are float32.
    """

    vocab_size: int = 66250
    dtype: str = "float32"

    def setup(self) -> None:
        self.video = VideoTower(self.dtype)
        self.text = TextTower(self.vocab_size, self.dtype)

    def __call__(self, frames: Array, words: Array) -> tuple[Array, Array]:
        """Embeds videos and texts, [B, 512] each; see `embed_video` and `embed_text`."""
        return self.embed_video(frames)[0], self.embed_text(words)

    def embed_video(self, frames: Array) -> tuple[Array, Array]:
        """Embeds videos, [B, 512]; also returns the layer before, `mixed_5c` [B, 1024].

        Args:
          frames: uint8 [B, T, H, W, 3]; T, H and W are even. Trained on T = 32, H = W = 224.
        """
        return self.video(frames)

    def embed_text(self, words: Array) -> Array:
        """Embeds words, int [B, MAX_WORDS], as `Words.encode` returns them: [B, 512]."""
        return self.text(words)


@dataclasses.dataclass(frozen=True)
class Words:
    """The words that the text tower knows, in the order of `s3d_dict.npy`; ids count from 1."""

    words: Sequence[str]

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        """Returns ids of known words, padded with 0: int32 [sentences, MAX_WORDS].

        Unknown words are left out.
        """
        ids = {word: i for i, word in enumerate(self.words, 1)}
        encoded = np.zeros((len(sentences), MAX_WORDS), np.int32)
        for row, sentence in zip(encoded, sentences, strict=True):
            words = re.findall(r"[\w']+", sentence.lower())
            known = [ids[word] for word in words if word in ids][:MAX_WORDS]
            row[: len(known)] = known
        return encoded


def space_to_depth(frames: Array) -> Array:
    """Folds 2 x 2 x 2 blocks into channels: [B, T, H, W, C] -> [B, T/2, H/2, W/2, 8 C]."""
    b, t, h, w, c = frames.shape
    blocks = frames.reshape(b, t // 2, 2, h // 2, 2, w // 2, 2, c)
    return blocks.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, t // 2, h // 2, w // 2, 8 * c)


def convolve(x: Array, kernel: Array) -> Array:
    """Convolves, keeping the size: [B, T, H, W, C], [kt, kh, kw, C, D] -> [B, T, H, W, D].

    It uses two-dimensional convolutions, which are 2 to 4 times as fast on a CPU.
    """
    b, t, h, w, _ = x.shape
    kt, kh, kw, _, features = kernel.shape
    if kh == kw == 1:
        x, kernel = x.reshape(b, t, h * w, -1), kernel[:, 0]
    else:
        earlier = (kt - 1) // 2
        x = jnp.pad(x, [(0, 0), (earlier, kt - 1 - earlier), (0, 0), (0, 0), (0, 0)])
        x = jnp.concatenate([x[:, i : i + t] for i in range(kt)], axis=-1).reshape(b * t, h, w, -1)
        kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(kh, kw, -1, features)
    x = lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return x.reshape(b, t, h, w, features)


def max_pool(x: Array, size: tuple[int, int, int], strides: tuple[int, int, int]) -> Array:
    """Takes the maximum over windows of time, height and width, one axis after the other.

    As published, an axis is padded by max(size - stride, 0). If that is odd, the end gets one more
    than the start. The end is padded further if the last window needs it.
    """
    for axis, (window, stride) in enumerate(zip(size, strides, strict=True)):
        length = x.shape[axis + 1]
        before = max(window - stride, 0) // 2
        after = max((-(-length // stride) - 1) * stride + window - before - length, 0)

        def along(value: Any, other: Any, axis: int = axis) -> tuple[Any, Any, Any]:
            return tuple(value if i == axis else other for i in range(3))

        x = nn.max_pool(x, along(window, 1), along(stride, 1), along((before, after), (0, 0)))
    return x
