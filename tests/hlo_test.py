"""Cycles and exchanges of a compiled program count as often as a step runs them."""

import pytest

from benchmarks import hlo

PROGRAM = """\
HloModule jit_train_step

%products (p.0: bf16[8,8]) -> bf16[8,8] {
  %p.0 = bf16[8,8]{1,0:T(8,128)} parameter(0)
  ROOT %c.0 = bf16[8,8]{1,0} convolution(%p.0, %p.0), dim_labels=bf_io->bf
}

%gathers (p.1: bf16[2,8]) -> bf16[8,8] {
  ROOT %g.0 = bf16[8,8]{1,0:T(8,128)(2,1)} all-gather(%p.1), channel_id=7, metadata={op_name="g"}
}

%condition (p.2: (s32[], bf16[8,8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(11)
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

%body (p.3: (s32[], bf16[8,8])) -> (s32[], bf16[8,8]) {
  %f.0 = bf16[8,8]{1,0} fusion(%x), kind=kOutput, calls=%products, metadata={op_name=\
"jit(train_step)/jvp(VLM.encode)/layer_0/mlp_in/dot_general"}, \
backend_config={"estimated_cycles":"100"}
  %f.1 = bf16[8,8]{1,0} fusion(%f.0), kind=kLoop, calls=%gathers, metadata={op_name=\
"jit(train_step)/jvp(VLM.encode)/layer_0/mlp_norm/mul"}, backend_config={"estimated_cycles":"10"}
  ROOT %t.0 = (s32[], bf16[8,8]{1,0}) tuple(%i, %f.1)
}

%all-reduce-scatter.1 (p.7: f32[64]) -> f32[16] {
  %r.2 = f32[64]{0} all-reduce(%p.7), channel_id=11, replica_groups=[1,4]<=[4], to_apply=%sum
  ROOT %own = f32[16]{0} dynamic-slice(%r.2, %i), dynamic_slice_sizes={16}
}

ENTRY %main (p.6: bf16[8,8]) -> bf16[8,8] {
  %w.0 = (s32[], bf16[8,8]{1,0:T(8,128)}) while(%t), condition=%condition, body=%body
  %r.0 = (f32[4]{0:T(128)}, f32[2,3]{1,0}) all-reduce(%a, %b), channel_id=9, \
replica_groups=[2,2]<=[4], to_apply=%sum
  %r.1 = f32[4]{0} all-reduce(%a), channel_id=10, replica_groups={{0,2,1},{3,4,5}}, to_apply=%sum
  %f.4 = f32[16]{0} fusion(%a), kind=kCustom, calls=%all-reduce-scatter.1
  ROOT %f.3 = f32[4]{0} fusion(%r.0), kind=kLoop, calls=%products, \
metadata={op_name="jit(train_step)/add"}, backend_config={"estimated_cycles":"3"}
}
"""


def test_cycles_count_the_trips_of_loops() -> None:
    assert {part: n for (part, _), n in hlo.Program(PROGRAM).cycles().items()} == {
        hlo.PRODUCTS: 1100,
        hlo.REST: 110,
        "optimizer": 3,
    }


def test_a_loop_whose_number_of_trips_varies_counts_once() -> None:
    varying = PROGRAM.replace("constant(11)", "get-tuple-element(%p.2), index=0")
    assert hlo.Program(varying).cycles().total() == 113


def test_a_branch_that_may_not_run_is_refused() -> None:
    chosen = PROGRAM.replace("fusion(%r.0), kind=kLoop", "conditional(%r.0), kind=kLoop")
    with pytest.raises(ValueError, match="f.3: which branch a step takes is not known"):
        hlo.Program(chosen).cycles()


def test_exchanges_count_once_per_channel_and_trip() -> None:
    gathered, reduced, listed, _ = hlo.Program(PROGRAM).collectives()
    assert gathered == ("all-gather", "g", 128, 11, 0)
    assert (reduced.kind, reduced.bytes, reduced.times) == ("all-reduce", 40, 1)
    assert (reduced.group, listed.group) == (2, 3)


def test_a_device_receives_from_its_group() -> None:
    gathered, reduced, _, scattered = hlo.Program(PROGRAM).collectives()
    assert gathered.received(4) == pytest.approx(11 * 96)
    assert reduced.received(4) == pytest.approx(40)
    assert scattered.received(4) == pytest.approx(192)


GPU_PROGRAM = """\
HloModule jit_train_step

%product (p.0: bf16[4000,16], p.1: bf16[16,8]) -> f32[4000,8] {
  %p.0 = bf16[4000,16]{1,0} parameter(0)
  %p.1 = bf16[16,8]{1,0} parameter(1)
  ROOT %d.0 = f32[4000,8]{1,0} dot(%p.0, %p.1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%sum (p.2: f32[4000,8]) -> f32[4000] {
  %p.2 = f32[4000,8]{1,0} parameter(0)
  %zero = f32[] constant(0)
  ROOT %s.0 = f32[4000]{0} reduce(%p.2, %zero), dimensions={1}, to_apply=%add
}

%body (p.3: f32[4000,8]) -> f32[4000] {
  %p.3 = f32[4000,8]{1,0} parameter(0)
  ROOT %f.1 = f32[4000]{0} fusion(%p.3), kind=kLoop, calls=%sum, metadata={op_name=\
"jit(train_step)/jvp(VLM.encode)/layer_0/mlp_norm/reduce_sum"}
}

ENTRY %main (x: bf16[4000,16], w: bf16[16,8]) -> f32[4000] {
  %x = bf16[4000,16]{1,0} parameter(0)
  %w = bf16[16,8]{1,0} parameter(1)
  %f.0 = f32[4000,8]{1,0} fusion(%x, %w), kind=kCustom, calls=%product, metadata={op_name=\
"jit(train_step)/jvp(VLM.encode)/layer_0/mlp_in/dot_general"}
  ROOT %w.0 = f32[4000]{0} while(%f.0), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"3"}}
}
"""


def test_a_kernel_of_a_gpu_takes_its_flops_or_its_bytes() -> None:
    program = hlo.Program(GPU_PROGRAM)
    # 1,024,000 FLOPs; 128,000 + 256 + 128,000 bytes, and three times 128,000 + 16,000.
    slow_memory = program.floor(flops=1e12, bandwidth=1e9)
    assert list(slow_memory.values()) == [256_256, 3 * 144_000]
    assert [part for part, _ in slow_memory] == [hlo.PRODUCTS, hlo.REST]
    assert list(program.floor(flops=1e9, bandwidth=1e9).values()) == [1_024_000, 3 * 144_000]
