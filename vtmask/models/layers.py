"""The configuration of an encoder, and the layers that its parts share."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

LAYER_NORM_EPSILON = 1e-12

_policies = jax.checkpoint_policies
REMAT_POLICIES = {
    "none": None,
    "products": _policies.dots_with_no_batch_dims_saveable,
    "all": _policies.nothing_saveable,
}


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Configuration of an encoder; the defaults are BERT-base.

    Attributes:
      num_positions: rows of the position table.
      initializer_range: standard deviation of fresh weights. BERT's 0.02 suits BERT's width; narrow
        models learn sooner with about 1 / sqrt(hidden_size).
      dtype: of activations; parameters, softmax and normalisation stay float32.
      fused_attention: uses cuDNN on a GPU, which needs bfloat16 and even lengths, and
        `jax.nn.dot_product_attention` elsewhere. Attention weights then have no dropout; if all
        keys are closed, all weights are equal.
      scan_layers: runs all layers but the last as one loop, which compiles faster than separate
        code.
      remat: activations of a scanned layer that are recomputed for gradients, to save memory:
        "none"; "products", which recomputes all but the matmuls with weights; or "all".
    """

    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_size: int = 3072
    vocab_size: int = 30522
    num_positions: int = 512
    dropout_rate: float = 0.1
    initializer_range: float = 0.02
    dtype: str = "float32"
    fused_attention: bool = False
    scan_layers: bool = False
    remat: str = "none"


def initializer(config: EncoderConfig) -> nn.initializers.Initializer:
    return nn.initializers.normal(config.initializer_range)


def dense(config: EncoderConfig, features: int, name: str) -> nn.Dense:
    return nn.Dense(features, dtype=config.dtype, kernel_init=initializer(config), name=name)


class LayerNorm(nn.Module):
    """Layer normalisation (Ba et al., 2016), in float32: [..., H] -> [..., H].

    For gradients, it keeps only its input and two numbers per row.
    """

    epsilon: float
    dtype: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return _normalize(x, scale, bias, self.epsilon, self.dtype)


def layer_norm(config: EncoderConfig, name: str, epsilon: float = LAYER_NORM_EPSILON) -> LayerNorm:
    return LayerNorm(epsilon, config.dtype, name=name)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _normalize(x: Array, scale: Array, bias: Array, epsilon: float, dtype: str) -> Array:
    return _normalize_forward(x, scale, bias, epsilon, dtype)[0]


def _normalize_forward(
    x: Array, scale: Array, bias: Array, epsilon: float, dtype: str
) -> tuple[Array, tuple[Array, ...]]:
    mean = x.mean(axis=-1, keepdims=True, dtype=jnp.float32)
    variance = jnp.square(x - mean).mean(axis=-1, keepdims=True)
    precision = jax.lax.rsqrt(variance + epsilon)
    result = (x - mean) * (precision * scale) + bias
    return result.astype(dtype), (x, scale, mean, precision)


def _normalize_backward(
    epsilon: float, dtype: str, kept: tuple[Array, ...], of_result: Array
) -> tuple[Array, Array, Array]:
    x, scale, mean, precision = kept
    of_result = of_result.astype(jnp.float32)
    normal = (x - mean) * precision
    of_normal = of_result * scale
    of_x = precision * (
        of_normal
        - of_normal.mean(axis=-1, keepdims=True)
        - normal * (of_normal * normal).mean(axis=-1, keepdims=True)
    )
    rows = tuple(range(x.ndim - 1))
    return of_x.astype(x.dtype), (of_result * normal).sum(rows), of_result.sum(rows)


_normalize.defvjp(_normalize_forward, _normalize_backward)


@jax.checkpoint
def gelu(x: Array) -> Array:
    """GELU with the error function, as in BERT; keeps only its input for gradients."""
    return nn.gelu(x, approximate=False)
