"""A post-norm BERT encoder (Devlin et al., 2019) under a mask that may differ by layer."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

LAYER_NORM_EPSILON = 1e-12
CLOSED = -10000.0  # added to closed scores, as published: a row with every key closed stays finite


@dataclasses.dataclass(frozen=True)
class EncoderSizes:
    """Sizes of an encoder; the defaults are BERT-base.

    Attributes:
      num_positions: rows of the position table.
      initializer_range: standard deviation of fresh weights. BERT's 0.02 suits BERT's width; narrow
        models learn sooner with about 1 / sqrt(hidden_size).
      dtype: of activations; parameters, softmax and normalisation stay float32.
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


class SelfAttention(nn.Module):
    """Multi-head self-attention: [B, L, H] and a mask that broadcasts to [B, L, L] -> [B, L, H]."""

    sizes: EncoderSizes

    @nn.compact
    def __call__(
        self, x: Array, mask: Array, deterministic: bool, cache_at: Array | int | None = None
    ) -> Array:
        sizes = self.sizes
        heads = (*x.shape[:-1], sizes.num_heads, sizes.hidden_size // sizes.num_heads)

        def project(name: str) -> Array:
            return dense(sizes, sizes.hidden_size, name)(x).reshape(heads)

        query, key, value = project("query"), project("key"), project("value")
        key_axes = "bknd"
        if cache_at is not None:  # cached as products read them: nothing is transposed at a step
            key_axes, slots = "bndk", mask.shape[-1]
            key = self._cached("keys", key.transpose(0, 2, 3, 1), 3, slots, cache_at)
            value = self._cached("values", value.swapaxes(1, 2), 2, slots, cache_at)
        scores = jnp.einsum(
            f"bqnd,{key_axes}->bnqk", query, key, preferred_element_type=jnp.float32
        )
        scores = scores / heads[-1] ** 0.5 + jnp.where(mask, 0.0, CLOSED)[:, None]
        weights = jax.nn.softmax(scores).astype(x.dtype)
        weights = nn.Dropout(sizes.dropout_rate)(weights, deterministic)
        if cache_at is None:
            mixed = jnp.einsum("bnqk,bknd->bqnd", weights, value)
        else:
            mixed = (weights @ value).swapaxes(1, 2)
        return dense(sizes, sizes.hidden_size, "output")(mixed.reshape(x.shape))

    def _cached(self, name: str, new: Array, axis: int, slots: int, at: Array | int) -> Array:
        """What the cache holds in all its slots along an axis, `new` written to those from `at`."""
        shape = (*new.shape[:axis], slots, *new.shape[axis + 1 :])
        cache = self.variable("cache", name, jnp.zeros, shape, new.dtype)
        cache.value = jax.lax.dynamic_update_slice_in_dim(cache.value, new, at, axis)
        return cache.value


class Layer(nn.Module):
    """Attention and MLP, each followed by dropout, the residual and a LayerNorm."""

    sizes: EncoderSizes

    @nn.compact
    def __call__(
        self, x: Array, mask: Array, deterministic: bool, cache_at: Array | int | None = None
    ) -> Array:
        sizes = self.sizes
        dropout = nn.Dropout(sizes.dropout_rate)
        attended = SelfAttention(sizes, name="attention")(x, mask, deterministic, cache_at)
        x = layer_norm(sizes, "attention_norm")(x + dropout(attended, deterministic))
        inner = nn.gelu(dense(sizes, sizes.mlp_size, "mlp_in")(x), approximate=False)
        outer = dense(sizes, sizes.hidden_size, "mlp_out")(inner)
        return layer_norm(sizes, "mlp_norm")(x + dropout(outer, deterministic))


class Encoder(nn.Module):
    """A stack of layers."""

    sizes: EncoderSizes

    @nn.compact
    def __call__(
        self,
        x: Array,
        mask: Array,
        deterministic: bool = True,
        cache_at: Array | int | None = None,
    ) -> list[Array]:
        """Returns the hidden states, the input first: num_layers + 1 arrays [B, L, H].

        Args:
          x: embedded sequence, [B, L, H].
          mask: True where a key is open; broadcasts to [B, num_layers, L, L]. See
            `vtmask.attention`.
          deterministic: no dropout; otherwise an rng "dropout" is needed.
          cache_at: where in the mutable collection "cache" the keys and values of `x` are written,
            from slot `cache_at` on. All slots are the keys then, and the mask's last dimension is
            their number M; what it closes has no effect. The first call makes the cache.
        """
        states = [x]
        for i in range(self.sizes.num_layers):
            layer_mask = mask[:, min(i, mask.shape[1] - 1)]
            layer = Layer(self.sizes, name=f"layer_{i}")
            states.append(layer(states[-1], layer_mask, deterministic, cache_at))
        return states


class Bert(nn.Module):
    """Embeddings of words, positions and segments, and the encoder."""

    sizes: EncoderSizes

    def setup(self) -> None:
        sizes = self.sizes

        def table(rows: int) -> nn.Embed:
            return nn.Embed(
                rows, sizes.hidden_size, dtype=sizes.dtype, embedding_init=initializer(sizes)
            )

        self.words = table(sizes.vocab_size)
        self.positions = table(sizes.num_positions)
        self.segments = table(2)
        self.embedding_norm = layer_norm(sizes, "embedding_norm")
        self.embedding_dropout = nn.Dropout(sizes.dropout_rate)
        self.encoder = Encoder(sizes)

    def embed_tokens(
        self, tokens: Array, position: Array, segment: Array, deterministic: bool = True
    ) -> Array:
        """Token embeddings [..., H] with positions and segments that broadcast to [...]."""
        x = self.embedding_norm(tokens + self.positions(position) + self.segments(segment))
        return self.embedding_dropout(x, deterministic)

    def encode(
        self,
        embedded: Array,
        mask: Array,
        deterministic: bool = True,
        cache_at: Array | int | None = None,
    ) -> list[Array]:
        """Hidden states of an embedded sequence, or a part of one; see `Encoder`."""
        return self.encoder(embedded, mask, deterministic, cache_at)


def initializer(sizes: EncoderSizes) -> nn.initializers.Initializer:
    return nn.initializers.normal(sizes.initializer_range)


def dense(sizes: EncoderSizes, features: int, name: str) -> nn.Dense:
    return nn.Dense(features, dtype=sizes.dtype, kernel_init=initializer(sizes), name=name)


def layer_norm(sizes: EncoderSizes, name: str, epsilon: float = LAYER_NORM_EPSILON) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=epsilon, dtype=sizes.dtype, use_fast_variance=False, name=name)
