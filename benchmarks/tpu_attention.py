"""Compares TPU attention kernels with the model's attention, by the compiler's estimate.

    pip install 'jax[tpu]'
    python benchmarks/tpu_attention.py

Compiles the gradients of a layer's self-attention, without dropout, for one chip of an absent v5e.
Between the layer's four products it has the model's attention, or Pallas's flash or splash
attention, whose blocks have 128 positions. The compiler does not estimate Pallas kernels, so the
last two figures count only the work around them.
"""

import dataclasses
import os
from typing import Any
from unittest import mock

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no metadata server to ask

import hlo
import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import topologies
from jax.experimental.pallas.ops.tpu import flash_attention as flash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.sharding import SingleDeviceSharding

from vtmask.models import VLMConfig, self_attention
from vtmask.models.self_attention import ALL_ROWS, SelfAttention

CLIPS, BLOCK = 64, 128
CONFIG = VLMConfig(dtype="bfloat16", dropout_rate=0.0)


def main() -> None:
    jax.config.update("jax_platforms", "cpu")
    print("| attention | million cycles | not counted |\n|---|---:|---|")
    print(row("model", CONFIG))
    fused = dataclasses.replace(CONFIG, fused_attention=True)
    for name, attention in (("flash", flash_attention), ("splash", splash_attention)):
        with mock.patch.object(self_attention, "_fused_attention", attention):
            print(row(name, fused))


def row(name: str, config: VLMConfig) -> str:
    """A row of the table: cycles of the gradients by parameters and input."""
    layer = SelfAttention(config)

    def init(x: Array, mask: Array) -> Any:
        return layer.init(jax.random.key(0), x, x, mask, None, ALL_ROWS)

    def loss(params: Any, x: Array, mask: Array) -> Array:
        mixed: Any = layer.apply(params, x, x, mask, None, ALL_ROWS)
        return mixed.astype(jnp.float32).sum()

    x = jax.ShapeDtypeStruct((CLIPS, config.max_len, config.hidden_size), jnp.bfloat16)
    mask = jax.ShapeDtypeStruct((CLIPS, 1, config.max_len), jnp.bool)
    params = jax.eval_shape(init, x, mask)
    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
    gradient = jax.jit(
        jax.grad(loss, argnums=(0, 1)), in_shardings=SingleDeviceSharding(devices[0])
    )
    lowered = gradient.trace(params, x, mask).lower(lowering_platforms=("tpu",))
    program = hlo.Program(lowered.compile().as_text() or "")
    kernels = sum("tpu_custom_call" in instruction.line for instruction, _ in program.walk())
    return f"| {name} | {program.cycles().total() / 1e6:.2f} | {kernels} kernels |"


def flash_attention(query: Array, key: Array, value: Array, mask: Array) -> Array:
    """Takes [B, L, heads, size] each, and a mask of keys, [B, 1, 1, L]."""
    heads = to_heads(query / query.shape[-1] ** 0.5, key, value)
    valid = flash.SegmentIds(*[in_block(mask[:, 0, 0].astype(jnp.int32))] * 2)
    return from_heads(flash.flash_attention(*heads, segment_ids=valid))


def splash_attention(query: Array, key: Array, value: Array, mask: Array) -> Array:
    heads = to_heads(query / query.shape[-1] ** 0.5, key, value)
    valid = splash.SegmentIds(*[in_block(mask[:, 0, 0].astype(jnp.int32))] * 2)
    full = masks.MultiHeadMask([masks.FullMask((BLOCK, BLOCK))] * query.shape[2])
    return from_heads(jax.vmap(splash.make_splash_mha_single_device(full))(*heads, valid))


def to_heads(*arrays: Array) -> list[Array]:
    """[B, L, heads, size] to [B, heads, BLOCK, size]."""
    return [in_block(x).swapaxes(1, 2) for x in arrays]


def from_heads(x: Array) -> Array:
    """[B, heads, BLOCK, size] to [B, L, heads, size]."""
    return x.swapaxes(1, 2)[:, : CONFIG.max_len]


def in_block(x: Array) -> Array:
    """Pads [B, L, ...] to [B, BLOCK, ...]."""
    return jnp.pad(x, [(0, 0), (0, BLOCK - x.shape[1]), *[(0, 0)] * (x.ndim - 2)])


if __name__ == "__main__":
    main()
