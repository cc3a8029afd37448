"""Masking has the published rates and never masks special tokens or padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtmask import masking
from vtmask.models import VLMConfig

CONFIG = VLMConfig(vocab_size=1000)


def batch(rng: np.random.Generator, size: int) -> dict[str, jax.Array]:
    video_len, text_len = rng.integers(0, 33, size), rng.integers(0, 62, size)
    position = np.arange(62)
    text = np.where(position < text_len[:, None], rng.integers(5, 1000, (size, 62)), CONFIG.pad_id)
    text = np.where(position == text_len[:, None], CONFIG.sep_id, text)
    return {
        "video_mask": jnp.asarray(np.arange(32) < video_len[:, None]),
        "text": jnp.asarray(text, jnp.int32),
        "text_mask": jnp.asarray(position <= text_len[:, None]),
    }


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31 - 1),
    mm_prob=st.floats(0, 1),
    mask_prob=st.floats(0, 1),
)
def test_special_and_padding_positions_are_never_masked(
    seed: int, mm_prob: float, mask_prob: float
) -> None:
    clean = batch(np.random.default_rng(seed), 16)
    scheme = masking.MaskingScheme(mm_prob, mask_prob)
    masked = masking.mask(jax.random.key(seed), clean, scheme, CONFIG)
    words = clean["text_mask"] & (clean["text"] > CONFIG.mask_id)
    assert not (masked.text_masked & ~words).any()
    assert not (masked.video_masked & ~clean["video_mask"]).any()
    np.testing.assert_array_equal(
        jnp.where(masked.text_masked, 0, masked.text),
        jnp.where(masked.text_masked, 0, clean["text"]),
    )


def test_masking_has_the_published_rates() -> None:
    clean = batch(np.random.default_rng(0), 20_000)
    enough = np.asarray((clean["video_mask"].sum(1) >= 8) & (clean["text_mask"].sum(1) >= 8))
    masked = masking.mask(jax.random.key(1), clean, masking.MaskingScheme(), CONFIG)
    words = clean["text_mask"] & (clean["text"] > CONFIG.mask_id)
    frames = clean["video_mask"]
    whole_text = np.asarray((masked.text_masked == words).all(1))
    whole_video = np.asarray((masked.video_masked == frames).all(1))
    assert whole_text[enough].mean() == pytest.approx(0.25, abs=0.015)
    assert whole_video[enough].mean() == pytest.approx(0.25, abs=0.015)
    assert not (whole_text & whole_video & enough).any()

    ordinary = ~whole_text & ~whole_video & enough
    of_words = masked.text_masked[ordinary].sum() / words[ordinary].sum()
    of_frames = masked.video_masked[ordinary].sum() / frames[ordinary].sum()
    assert float(of_words) == pytest.approx(0.15, abs=0.005)
    assert float(of_frames) == pytest.approx(0.15, abs=0.005)

    chosen = np.asarray(masked.text_masked)
    seen, right = np.asarray(masked.text)[chosen], np.asarray(clean["text"])[chosen]
    assert (seen == CONFIG.mask_id).mean() == pytest.approx(0.8, abs=0.01)
    assert (seen == right).mean() == pytest.approx(0.1, abs=0.01)


def test_masking_one_modality_leaves_the_other_unmasked() -> None:
    clean = batch(np.random.default_rng(0), 500)
    scheme = masking.MaskingScheme(mm_prob=1.0)
    masked = masking.mask(jax.random.key(2), clean, scheme, CONFIG)
    assert not (masked.text_masked.any(1) & masked.video_masked.any(1)).any()


def test_masks_depend_only_on_the_key() -> None:
    clean = batch(np.random.default_rng(0), 64)
    scheme = masking.MaskingScheme()
    one, same, other = (masking.mask(jax.random.key(i), clean, scheme, CONFIG) for i in (1, 1, 2))
    np.testing.assert_array_equal(one.text, same.text)
    np.testing.assert_array_equal(one.video_masked, same.video_masked)
    assert (one.text_masked != other.text_masked).any()
