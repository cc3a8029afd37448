"""A post-norm BERT encoder (Devlin et al., 2019) whose attention mask may differ by layer."""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from vtmask import mesh
from vtmask.errors import UserError
from vtmask.models.dropout import Dropout
from vtmask.unpadding import Selection

LAYER_NORM_EPSILON = 1e-12
CLOSED = -10000.0  # added to closed scores, as published: a row with every key closed stays finite

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
        `jax.nn.dot_product_attention` elsewhere. Attention weights then have no dropout, and are
        equal if all keys are closed.
      scan_layers: one loop over the layers rather than code for each; compiles sooner.
      remat: which activations of a scanned layer are computed again for gradients, to save memory:
        "none", all but the "products" with weights, or "all".
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


class Rows(NamedTuple):
    """Which positions of the sequences [B, L] have a row in a layer's input and in its output.

    None is all of them, [B, L, H]; otherwise the selected ones, [groups, slots, H]. Positions
    without a row have no effect on others if the attention mask closes them.
    """

    input: Selection | None = None
    output: Selection | None = None

    def input_to_output(self, x: Array) -> Array:
        """The rows of the output from those of the input."""
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
        deterministic: bool,
        rows: Rows,
        cache_at: Array | int | None = None,
    ) -> Array:
        """Attends from the rows of the output to those of the input.

        Args:
          queries: the rows of the output: [B, L, H] or [groups, slots, H]; see `Rows`.
          x: the rows of the input, from which keys and values are made, likewise.
          mask: True at open keys; broadcasts to [B, L, L].
          deterministic: no dropout of attention weights.
          cache_at: see `Encoder`.

        Returns:
          the shape of `queries`.
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
        else:  # laid out as matmuls read it, so that a step with a cache transposes nothing
            key, value = key.transpose(0, 2, 3, 1), value.swapaxes(1, 2)
            if cache_at is not None:
                key = self._cached("keys", key, 3, mask.shape[-1], cache_at)
                value = self._cached("values", value, 2, mask.shape[-1], cache_at)
            scores = _scores(query.swapaxes(1, 2), key)
            scores = scores / query.shape[-1] ** 0.5 + jnp.where(mask, 0.0, CLOSED)
            weights = jax.nn.softmax(scores).astype(x.dtype)
            weights = Dropout(config.dropout_rate)(weights, deterministic)
            mixed = (weights @ value).swapaxes(1, 2)
        mixed = _gather(mixed.reshape(*mixed.shape[:2], config.hidden_size), rows.output)
        return dense(config, config.hidden_size, "output")(mixed)

    def _cached(self, name: str, new: Array, axis: int, slots: int, at: Array | int) -> Array:
        """Writes `new` into the cache from slot `at` on; returns all `slots` along the axis."""
        shape = (*new.shape[:axis], slots, *new.shape[axis + 1 :])
        cache = self.variable("cache", name, jnp.zeros, shape, new.dtype)
        cache.value = jax.lax.dynamic_update_slice_in_dim(cache.value, new, at, axis)
        return cache.value


class Layer(nn.Module):
    """Attention and MLP, each followed by dropout, the residual and a LayerNorm."""

    config: EncoderConfig

    @nn.compact
    def __call__(
        self,
        x: Array,
        mask: Array,
        deterministic: bool,
        rows: Rows = ALL_ROWS,
        cache_at: Array | int | None = None,
    ) -> Array:
        """One layer: [B, L, H] -> [B, L, H], or the rows that `rows` selects.

        Args:
          x: hidden states, in the form of `rows.input`.
          mask: True at open keys; broadcasts to [B, L, L].
          deterministic: no dropout.
          cache_at: see `Encoder`.

        Returns:
          hidden states in the form of `rows.output`.
        """
        config = self.config
        dropout = Dropout(config.dropout_rate)
        residual = mesh.split(rows.input_to_output(x))
        attention = SelfAttention(config, name="attention")
        attended = attention(residual, x, mask, deterministic, rows, cache_at)
        hidden = layer_norm(config, "attention_norm")(
            residual + dropout(attended, deterministic, rows.output)
        )
        inner = gelu(dense(config, config.mlp_size, "mlp_in")(hidden))
        outer = dense(config, config.hidden_size, "mlp_out")(inner)
        return mesh.split(
            layer_norm(config, "mlp_norm")(hidden + dropout(outer, deterministic, rows.output))
        )


class Encoder(nn.Module):
    """A stack of layers."""

    config: EncoderConfig

    @nn.compact
    def __call__(
        self,
        x: Array,
        mask: Array,
        deterministic: bool = True,
        num_layers: int | None = None,
        rows: Rows = ALL_ROWS,
        cache_at: Array | int | None = None,
    ) -> Array:
        """Encodes an embedded sequence: [B, L, H] -> [B, L, H], or the rows that `rows` selects.

        Args:
          x: embedded sequence, [B, L, H] or [groups, slots, H], in the form of `rows.input`.
          mask: True at open keys; broadcasts to [B, num_layers, L, L]. See `vtmask.attention`.
          deterministic: no dropout; otherwise an rng "dropout" is needed.
          num_layers: how many of the first layers run; None is all.
          rows: the rows of `x` and of the result. The last layer computes those of the result only.
          cache_at: writes the keys and values of `x` into the mutable collection "cache", from slot
            `cache_at` on, and attends to all slots of the cache. The mask's last dimension is then
            the number of slots, M. Closed slots have no effect. The first call makes the cache.

        Returns:
          hidden states after the last layer, in the form of `rows.output`.
        """
        num_layers = self.config.num_layers if num_layers is None else num_layers
        inner_rows = Rows(rows.input, rows.input)
        if not num_layers:
            return rows.input_to_output(x)
        last = num_layers - 1
        scan = self.config.scan_layers and last > 0
        if scan and cache_at is None and not self.is_initializing():
            x = self._scanned(x, mask, deterministic, last, inner_rows)
        else:
            for i in range(last):
                layer = Layer(self.config, name=f"layer_{i}")
                x = layer(x, _of_layer(mask, i), deterministic, inner_rows, cache_at)
        layer = Layer(self.config, name=f"layer_{last}")
        return layer(x, _of_layer(mask, last), deterministic, rows, cache_at)

    def _scanned(
        self, x: Array, mask: Array, deterministic: bool, num_layers: int, rows: Rows
    ) -> Array:
        """Runs the first layers as one loop over their stacked parameters, compiled once."""
        layer = Layer(self.config, parent=None)
        params = [self.variables["params"][f"layer_{i}"] for i in range(num_layers)]
        masks = jnp.stack([_of_layer(mask, i) for i in range(num_layers)])
        keys = None if deterministic else jax.random.split(self.make_rng("dropout"), num_layers)

        def body(x: Array, of_layer: tuple[Any, Array, Array | None]) -> tuple[Any, None]:
            params, mask, key = of_layer
            rngs = None if key is None else {"dropout": key}
            return layer.apply({"params": params}, x, mask, deterministic, rows, rngs=rngs), None

        policy = REMAT_POLICIES[self.config.remat]
        if policy:
            body = jax.checkpoint(body, policy=policy, prevent_cse=False)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
        return jax.lax.scan(body, x, (stacked, masks, keys))[0]


class Bert(nn.Module):
    """Embeddings of words, positions and segments, and the encoder."""

    config: EncoderConfig

    def setup(self) -> None:
        config = self.config

        def table(rows: int) -> nn.Embed:
            # Float32 whatever the activations are: a word's gradient is a sum over the batch.
            return nn.Embed(rows, config.hidden_size, embedding_init=initializer(config))

        self.words = table(config.vocab_size)
        self.positions = table(config.num_positions)
        self.segments = table(2)
        self.embedding_norm = layer_norm(config, "embedding_norm")
        self.embedding_dropout = Dropout(config.dropout_rate)
        self.encoder = Encoder(config)

    def embed_tokens(
        self, tokens: Array, position: Array, segment: Array, deterministic: bool = True
    ) -> Array:
        """Adds positions and segments to token embeddings: [..., H] -> [..., H].

        Args:
          tokens: embeddings of tokens or frames, [..., H].
          position, segment: ids that broadcast to [...].
          deterministic: no dropout.
        """
        x = self.embedding_norm(tokens + self.positions(position) + self.segments(segment))
        return self.embedding_dropout(x, deterministic)

    def encode(
        self,
        embedded: Array,
        mask: Array,
        deterministic: bool = True,
        num_layers: int | None = None,
        rows: Rows = ALL_ROWS,
        cache_at: Array | int | None = None,
    ) -> Array:
        """Hidden states of an embedded sequence, or of a part of one: [B, L, H] -> [B, L, H].

        The arguments are those of `Encoder`.
        """
        return self.encoder(embedded, mask, deterministic, num_layers, rows, cache_at)


def initializer(config: EncoderConfig) -> nn.initializers.Initializer:
    return nn.initializers.normal(config.initializer_range)


def dense(config: EncoderConfig, features: int, name: str) -> nn.Dense:
    return nn.Dense(features, dtype=config.dtype, kernel_init=initializer(config), name=name)


def layer_norm(
    config: EncoderConfig, name: str, epsilon: float = LAYER_NORM_EPSILON
) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=epsilon, dtype=config.dtype, use_fast_variance=False, name=name)


@jax.checkpoint
def gelu(x: Array) -> Array:
    """GELU by the error function, as in BERT; nothing but its input is kept for gradients."""
    return nn.gelu(x, approximate=False)


def _of_layer(mask: Array, layer: int) -> Array:
    return mask[:, min(layer, mask.shape[1] - 1)]


def _gather(x: Array, selection: Selection | None) -> Array:
    return x if selection is None else selection.gather(x)


def _scatter(x: Array, selection: Selection | None) -> Array:
    return x if selection is None else selection.scatter(x)


@jax.custom_vjp
def _scores(query: Array, key: Array) -> Array:
    """[B, heads, N, size] by [B, heads, size, M], in float32."""
    return jnp.matmul(query, key, preferred_element_type=jnp.float32)


def _scores_backward(factors: tuple[Array, Array], of_scores: Array) -> tuple[Array, Array]:
    query, key = factors
    of_scores = of_scores.astype(query.dtype)  # or the products would be those of float32
    return of_scores @ key.swapaxes(2, 3), query.swapaxes(2, 3) @ of_scores


_scores.defvjp(lambda query, key: (_scores(query, key), (query, key)), _scores_backward)


def _fused_attention(query: Array, key: Array, value: Array, mask: Array) -> Array:
    """[B, L, heads, size] each, and a mask that broadcasts to [B, 1, L, L], likewise."""
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
