"""A post-norm BERT encoder (Devlin et al., 2019) whose attention mask may differ by layer."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from vtmask import mesh
from vtmask.models.dropout import dropout
from vtmask.models.layers import REMAT_POLICIES, EncoderConfig, dense, gelu, initializer, layer_norm
from vtmask.models.self_attention import ALL_ROWS, Rows, SelfAttention


class Layer(nn.Module):
    """Attention and MLP, each followed by dropout, the residual and a LayerNorm."""

    config: EncoderConfig

    @nn.compact
    def __call__(
        self,
        x: Array,
        mask: Array,
        dropout_key: Array | None,
        rows: Rows = ALL_ROWS,
        cache_at: Array | int | None = None,
    ) -> Array:
        """Runs one layer: [B, L, H] -> [B, L, H], or the rows that `rows` selects.

        Args:
          x: hidden states, in the form of `rows.input`.
          mask: True at open keys; broadcasts to [B, L, L].
          dropout_key: None disables dropout.
          cache_at: see `Encoder`.

        Returns:
          hidden states in the form of `rows.output`.
        """
        config, rate = self.config, self.config.dropout_rate
        keys = None if dropout_key is None else jax.random.split(dropout_key, 3)
        residual = mesh.split(rows.input_to_output(x))
        attention = SelfAttention(config, name="attention")
        attended = attention(residual, x, mask, _key_of(keys, 0), rows, cache_at)
        hidden = layer_norm(config, "attention_norm")(
            residual + dropout(attended, rate, _key_of(keys, 1), rows.output)
        )
        inner = gelu(dense(config, config.mlp_size, "mlp_in")(hidden))
        outer = dense(config, config.hidden_size, "mlp_out")(inner)
        return mesh.split(
            layer_norm(config, "mlp_norm")(
                hidden + dropout(outer, rate, _key_of(keys, 2), rows.output)
            )
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
          deterministic: True disables dropout; otherwise an rng "dropout" is needed.
          num_layers: number of layers to run, from the first; None is all.
          rows: rows of `x` and of the result. The last layer computes only those of the result.
          cache_at: writes the keys and values of `x` into the mutable collection "cache", from slot
            `cache_at` on, and attends to all slots of the cache. The mask's last axis then has one
            entry per slot. Closed slots have no effect. The first call creates the cache.

        Returns:
          hidden states after the last layer, in the form of `rows.output`.
        """
        num_layers = self.config.num_layers if num_layers is None else num_layers
        inner_rows = Rows(rows.input, rows.input)
        if not num_layers:
            return rows.input_to_output(x)
        last = num_layers - 1
        keys = None
        if not deterministic and self.config.dropout_rate:
            keys = jax.random.split(self.make_rng("dropout"), num_layers)
        scan = self.config.scan_layers and last > 0
        if scan and cache_at is None and not self.is_initializing():
            x = self._scanned(x, mask, keys, last, inner_rows)
        else:
            for i in range(last):
                layer = Layer(self.config, name=f"layer_{i}")
                x = layer(x, _of_layer(mask, i), _key_of(keys, i), inner_rows, cache_at)
        layer = Layer(self.config, name=f"layer_{last}")
        return layer(x, _of_layer(mask, last), _key_of(keys, last), rows, cache_at)

    def _scanned(
        self, x: Array, mask: Array, keys: Array | None, num_layers: int, rows: Rows
    ) -> Array:
        """Runs the first layers as one loop over their stacked parameters, compiled once."""
        layer = Layer(self.config, parent=None)
        params = [self.variables["params"][f"layer_{i}"] for i in range(num_layers)]
        masks = jnp.stack([_of_layer(mask, i) for i in range(num_layers)])
        keys = None if keys is None else keys[:num_layers]

        def body(x: Array, of_layer: tuple[Any, Array, Array | None]) -> tuple[Any, None]:
            params, mask, key = of_layer
            return layer.apply({"params": params}, x, mask, key, rows), None

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
            # Float32 even if activations are not, as a word's gradient is a sum over the batch.
            return nn.Embed(rows, config.hidden_size, embedding_init=initializer(config))

        self.words = table(config.vocab_size)
        self.positions = table(config.num_positions)
        self.segments = table(2)
        self.embedding_norm = layer_norm(config, "embedding_norm")
        self.encoder = Encoder(config)

    def embed_tokens(
        self, tokens: Array, position: Array, segment: Array, deterministic: bool = True
    ) -> Array:
        """Adds positions and segments to token embeddings: [..., H] -> [..., H].

        Args:
          tokens: embeddings of tokens or frames, [..., H].
          position, segment: ids that broadcast to [...].
          deterministic: True disables dropout.
        """
        x = self.embedding_norm(tokens + self.positions(position) + self.segments(segment))
        rate = self.config.dropout_rate
        return dropout(x, rate, self.make_rng("dropout") if rate and not deterministic else None)

    def encode(
        self,
        embedded: Array,
        mask: Array,
        deterministic: bool = True,
        num_layers: int | None = None,
        rows: Rows = ALL_ROWS,
        cache_at: Array | int | None = None,
    ) -> Array:
        """Encodes an embedded sequence, or a part of one: [B, L, H] -> [B, L, H].

        Takes the arguments of `Encoder`.
        """
        return self.encoder(embedded, mask, deterministic, num_layers, rows, cache_at)


def _key_of(keys: Array | None, i: int) -> Array | None:
    return None if keys is None else keys[i]


def _of_layer(mask: Array, layer: int) -> Array:
    return mask[:, min(layer, mask.shape[1] - 1)]
