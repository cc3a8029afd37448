from itertools import product
from pathlib import Path

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vtmask import convert
from vtmask.models import s3d
from vtmask.models.s3d import S3D, Words


@pytest.mark.parametrize("kernel_size", [(1, 1, 1), (1, 3, 3), (3, 1, 1), (2, 4, 4), (3, 3, 3)])
def test_convolve_equals_a_convolution_in_three_dimensions(kernel_size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 5, 6, 7, 3), np.float32))
    kernel = jnp.asarray(rng.standard_normal((*kernel_size, 3, 4), np.float32))
    layout = ("NDHWC", "DHWIO", "NDHWC")
    expected = lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=layout)
    np.testing.assert_allclose(s3d.convolve(x, kernel), expected, atol=1e-4)


@pytest.mark.parametrize("length", [7, 8])
@pytest.mark.parametrize(
    "size, stride, before", [((3, 3, 3), 2, 0), ((2, 2, 2), 2, 0), ((3, 3, 3), 1, 1)]
)
def test_pooling_is_padded_as_published(
    size: tuple[int, int, int], stride: int, before: int, length: int
) -> None:
    x = np.random.default_rng(0).random((1, length, length, length, 2), np.float32)
    outputs = -(-length // stride)
    expected = np.zeros((1, outputs, outputs, outputs, 2), np.float32)
    for place in product(range(outputs), repeat=3):
        begin = [stride * i - before for i in place]
        t, h, w = (slice(max(b, 0), b + k) for b, k in zip(begin, size, strict=True))
        expected[0][place] = x[0, t, h, w].max((0, 1, 2))
    np.testing.assert_array_equal(s3d.max_pool(jnp.asarray(x), size, (stride,) * 3), expected)


def test_space_to_depth_puts_time_first_and_colour_last() -> None:
    frames = np.arange(2 * 2 * 2 * 3).reshape(1, 2, 2, 2, 3)
    np.testing.assert_array_equal(s3d.space_to_depth(jnp.asarray(frames)).ravel(), np.arange(24))
    wide = np.arange(2 * 2 * 4 * 1).reshape(1, 2, 2, 4, 1)
    np.testing.assert_array_equal(
        s3d.space_to_depth(jnp.asarray(wide))[0, 0, 0],
        [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]],
    )


def test_words_become_ids() -> None:
    words = Words(["cut", "the", "onion", "don't"])
    ids = words.encode(["Cut the red onion!", "", "don't " * 20])
    assert ids.shape == (3, s3d.MAX_WORDS)
    np.testing.assert_array_equal(ids[0, :4], [1, 2, 3, 0])
    assert not ids[1].any()
    assert (ids[2] == 4).all()


def test_bfloat16_gives_nearly_the_same_embeddings(golden_dir: Path) -> None:
    case = np.load(golden_dir / "s3d.npz")
    params = convert.s3d_from_published(golden.s3d_weights(case))
    model = S3D(len(params["text"]["word_embd"]["embedding"]), "bfloat16")
    words = np.ones((1, s3d.MAX_WORDS), np.int32)
    video, text = jax.jit(model.apply)({"params": params}, case["frames"], words)
    assert video.dtype == text.dtype == jnp.float32
    scale = np.abs(case["video_embedding"]).max()
    np.testing.assert_allclose(video, case["video_embedding"], atol=0.02 * scale)
