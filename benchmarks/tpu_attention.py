"""Compares TPU attention kernels with the model's attention, by the compiler's estimate.

    pip install 'jax[tpu]'
    python benchmarks/tpu_attention.py

Compiles the gradients of a layer's four products and the attention between them, without dropout,
for one chip of an absent v5e. It does so with the model's attention and with Pallas's flash and
splash attention, whose blocks have 128 positions. The compiler does not estimate Pallas kernels, so
the last two figures count only the work around them.
"""

import os
from collections.abc import Callable

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

from vtmask.models.self_attention import CLOSED, _scores, _softmax

CLIPS, LENGTH, HEADS, SIZE = 64, 96, 12, 64
BLOCK = 128

Attention = Callable[[Array, Array, Array, Array], Array]


def main() -> None:
    jax.config.update("jax_platforms", "cpu")
    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
    place = SingleDeviceSharding(devices[0])
    shapes = [
        jax.ShapeDtypeStruct(shape, dtype, sharding=place)
        for shape, dtype in [
            ((CLIPS, LENGTH, HEADS * SIZE), jnp.bfloat16),
            ((4, HEADS * SIZE, HEADS * SIZE), jnp.bfloat16),
            ((CLIPS, LENGTH), jnp.bool),
        ]
    ]
    print("| attention | million cycles | not counted |\n|---|---:|---|")
    for attend in (model_attention, flash_attention, splash_attention):
        traced = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=3).trace(*shapes, attend)
        program = hlo.Program(traced.lower(lowering_platforms=("tpu",)).compile().as_text() or "")
        kernels = sum("tpu_custom_call" in instruction.line for instruction, _ in program.walk())
        cycles = program.cycles().total() / 1e6
        print(f"| {attend.__name__} | {cycles:.2f} | {kernels} kernels |")


def loss(x: Array, kernels: Array, valid: Array, attend: Attention) -> Array:
    """A scalar of one layer's attention: x [B, L, H], kernels [4, H, H], valid [B, L]."""
    query, key, value = ((x @ kernel).reshape(*x.shape[:2], HEADS, SIZE) for kernel in kernels[:3])
    mixed = attend(query / SIZE**0.5, key, value, valid)
    return (mixed.reshape(x.shape) @ kernels[3]).astype(jnp.float32).sum()


def model_attention(query: Array, key: Array, value: Array, valid: Array) -> Array:
    """That of `vtmask.models.self_attention`: [B, L, heads, size] each, and valid [B, L]."""
    scores = _scores(query.swapaxes(1, 2), key.transpose(0, 2, 3, 1))
    weights = _softmax(scores + jnp.where(valid[:, None, None], 0.0, CLOSED), query.dtype)
    return (weights @ value.swapaxes(1, 2)).swapaxes(1, 2)


def flash_attention(query: Array, key: Array, value: Array, valid: Array) -> Array:
    segments = flash.SegmentIds(*[in_block(valid.astype(jnp.int32))] * 2)
    return from_heads(flash.flash_attention(*to_heads(query, key, value), segment_ids=segments))


def splash_attention(query: Array, key: Array, value: Array, valid: Array) -> Array:
    segments = splash.SegmentIds(*[in_block(valid.astype(jnp.int32))] * 2)
    mask = masks.MultiHeadMask([masks.FullMask((BLOCK, BLOCK))] * HEADS)
    kernel = jax.vmap(splash.make_splash_mha_single_device(mask))
    return from_heads(kernel(*to_heads(query, key, value), segments))


def to_heads(*arrays: Array) -> list[Array]:
    """[B, L, heads, size] to [B, heads, BLOCK, size]."""
    return [in_block(x).swapaxes(1, 2) for x in arrays]


def from_heads(x: Array) -> Array:
    """[B, heads, BLOCK, size] to [B, L, heads, size]."""
    return x.swapaxes(1, 2)[:, :LENGTH]


def in_block(x: Array) -> Array:
    """Pads [B, L, ...] to [B, BLOCK, ...]."""
    return jnp.pad(x, [(0, 0), (0, BLOCK - LENGTH), *[(0, 0)] * (x.ndim - 2)])


if __name__ == "__main__":
    main()
