"""Multi-head self-attention (Vaswani et al., 2017) among all or some positions of a sequence."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from vtmask.errors import UserError
from vtmask.models.dropout import dropout
from vtmask.models.layers import EncoderConfig, dense
from vtmask.unpadding import Selection

CLOSED = -10000.0  # added to closed scores, as published: a row without open keys stays finite


class Rows(NamedTuple):
    """The positions of sequences [B, L] that have a row in a layer's input and in its output.

    None means all positions, [B, L, H]; otherwise there are rows for the selected ones only,
    [groups, slots, H]. Positions without a row have no effect on others if the attention mask
    closes them.
    """

    input: Selection | None = None
    output: Selection | None = None

    def input_to_output(self, x: Array) -> Array:
        """Converts rows of the input to rows of the output."""
        if self.input is self.output:
            return x
        return _gather(_scatter(x, self.input), self.output)


ALL_ROWS = Rows()


class SelfAttention(nn.Module):
    """Multi-head self-attention."""

    config: EncoderConfig

    @nn.compact
    def __call__(
        self,
        queries: Array,
        x: Array,
        mask: Array,
        dropout_key: Array | None,
        rows: Rows,
        cache_at: Array | int | None = None,
    ) -> Array:
        """Attends from the rows of the output to those of the input.

        Args:
          queries: rows of the output, [B, L, H] or [groups, slots, H]; see `Rows`.
          x: rows of the input, which give the keys and values, in the same form.
          mask: True at open keys; broadcasts to [B, L, L].
          dropout_key: for dropout of attention weights; None has none.
          cache_at: see `Encoder`.

        Returns:
          an array of the shape of `queries`.
        """
        config = self.config

        def project(name: str, x: Array, selection: Selection | None) -> Array:
            heads = (config.num_heads, config.hidden_size // config.num_heads)
            projected = _scatter(dense(config, config.hidden_size, name)(x), selection)
            return projected.reshape(*projected.shape[:-1], *heads)

        query = project("query", queries, rows.output)
        key, value = project("key", x, rows.input), project("value", x, rows.input)
        mask = mask[:, None]
        if config.fused_attention and cache_at is None:
            mixed = _fused_attention(query, key, value, mask)
        else:  # laid out for the matmuls, so that a step with a cache transposes nothing
            key, value = key.transpose(0, 2, 3, 1), value.swapaxes(1, 2)
            if cache_at is not None:
                key = self._cached("keys", key, 3, mask.shape[-1], cache_at)
                value = self._cached("values", value, 2, mask.shape[-1], cache_at)
            scores = _scores(query.swapaxes(1, 2), key)
            scores = scores / query.shape[-1] ** 0.5 + jnp.where(mask, 0.0, CLOSED)
            weights = _softmax(scores, x.dtype)
            weights = dropout(weights, config.dropout_rate, dropout_key)
            mixed = (weights @ value).swapaxes(1, 2)
        mixed = _gather(mixed.reshape(*mixed.shape[:2], config.hidden_size), rows.output)
        return dense(config, config.hidden_size, "output")(mixed)

    def _cached(self, name: str, new: Array, axis: int, slots: int, at: Array | int) -> Array:
        """Writes `new` into the cache from slot `at` on; returns all `slots` along the axis."""
        shape = (*new.shape[:axis], slots, *new.shape[axis + 1 :])
        cache = self.variable("cache", name, jnp.zeros, shape, new.dtype)
        cache.value = jax.lax.dynamic_update_slice_in_dim(cache.value, new, at, axis)
        return cache.value


def _gather(x: Array, selection: Selection | None) -> Array:
    return x if selection is None else selection.gather(x)


def _scatter(x: Array, selection: Selection | None) -> Array:
    return x if selection is None else selection.scatter(x)


@jax.custom_vjp
def _scores(query: Array, key: Array) -> Array:
    """Multiplies [B, heads, N, size] by [B, heads, size, M], in float32."""
    return jnp.matmul(query, key, preferred_element_type=jnp.float32)


def _scores_backward(factors: tuple[Array, Array], of_scores: Array) -> tuple[Array, Array]:
    query, key = factors
    of_scores = of_scores.astype(query.dtype)  # otherwise the matmuls would run in float32
    return of_scores @ key.swapaxes(2, 3), query.swapaxes(2, 3) @ of_scores


_scores.defvjp(lambda query, key: (_scores(query, key), (query, key)), _scores_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _softmax(scores: Array, dtype: jnp.dtype) -> Array:
    """Computes the softmax in float32 and returns it in `dtype`; gradients need only the result."""
    return jax.nn.softmax(scores).astype(dtype)


def _softmax_forward(scores: Array, dtype: jnp.dtype) -> tuple[Array, Array]:
    weights = _softmax(scores, dtype)
    return weights, weights


def _softmax_backward(dtype: jnp.dtype, weights: Array, of_weights: Array) -> tuple[Array]:
    weights, of_weights = weights.astype(jnp.float32), of_weights.astype(jnp.float32)
    product = weights * of_weights
    return (product - weights * product.sum(axis=-1, keepdims=True),)


_softmax.defvjp(_softmax_forward, _softmax_backward)


def _fused_attention(query: Array, key: Array, value: Array, mask: Array) -> Array:
    """Attends with a fused kernel: [B, L, heads, size] each; `mask` broadcasts to [B, 1, L, L]."""
    lengths = query.shape[1], key.shape[1]
    mask = jnp.broadcast_to(mask, (*mask.shape[:2], *lengths))
    on_gpu = jax.default_backend() == "gpu"
    if on_gpu and query.dtype != jnp.bfloat16:
        raise UserError(
            "config.model.fused_attention is True, which on a GPU needs config.model.dtype=bfloat16"
        )
    cudnn = on_gpu and not any(n % 2 for n in lengths)
    return jax.nn.dot_product_attention(
        query, key, value, mask=mask, implementation="cudnn" if cudnn else "xla"
    )
