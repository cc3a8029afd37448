"""Captioning's cached scores, searches and samples agree with scores of full sequences."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from vtmask import decoding
from vtmask.errors import UserError
from vtmask.models import VLM, initial_params
from vtmask.tasks.captioning import PROMPT_LENGTH, Captioning

CONFIG = dataclasses.replace(synthetic.CONFIG, dropout_rate=0.0, initializer_range=0.2)
BATCH = {
    name: jnp.asarray(value)[:4] for name, value in synthetic.SyntheticBatches().batch(0).items()
}
CLIPS = {name: BATCH[name] for name in ("video", "video_mask")}
LENGTH = CONFIG.max_text_len
MODEL = VLM(CONFIG)
VARIABLES = {"params": initial_params(MODEL, 0)}


def generate(task: Captioning, key: Any = None, model: VLM = MODEL) -> Any:
    return compiled(task, model)(VARIABLES, CLIPS, key)


@functools.cache
def compiled(task: Captioning, model: VLM = MODEL) -> Any:
    return jax.jit(nn.apply(task.generate, model))


@jax.jit
def full_logits(text: jax.Array, text_mask: jax.Array) -> jax.Array:
    batch = CLIPS | {"text": text, "text_mask": text_mask}
    return nn.apply(Captioning().logits, MODEL)(VARIABLES, batch, True)


def test_cached_scores_equal_those_of_the_full_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each clip has three texts, which change beams at every position."""
    text = jax.random.randint(jax.random.key(0), (3, 4, LENGTH), 5, CONFIG.vocab_size)
    orders = [np.roll(np.arange(3), t) for t in range(LENGTH)]  # the text of each beam

    def forced(step: Any, logits: Any, cache: Any, sequences: Any, num_beams: int) -> Any:
        steps = [jnp.stack([logits] * 3)]
        paths = np.zeros((4, 3, LENGTH - 1, 3), bool)
        for t in range(LENGTH - 1):
            now = np.zeros_like(paths)
            for beam, which in enumerate(orders[t]):
                for past in range(t + 1):
                    now[:, beam, past, list(orders[past]).index(which)] = True
            scores, cache = step(text[orders[t], :, t].T, jnp.array(t), jnp.array(now), cache)
            steps.append(scores.swapaxes(0, 1)[np.argsort(orders[t])])
        return jnp.stack(steps, axis=2)

    monkeypatch.setattr(decoding, "beam_search", forced)
    task = Captioning(num_beams=3, max_decode_length=LENGTH + PROMPT_LENGTH)
    actual = jax.jit(nn.apply(task.generate, MODEL))(VARIABLES, CLIPS)
    for i in range(3):
        expected = full_logits(text[i], jnp.ones_like(text[i], bool))
        np.testing.assert_allclose(actual[i], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("num_beams", "key"), [(1, None), (4, None), (4, 7)])
def test_scores_are_normalised_log_likelihoods_of_the_captions(
    num_beams: int, key: int | None
) -> None:
    task = Captioning(num_beams, length_penalty=0.7, max_decode_length=LENGTH + PROMPT_LENGTH)
    ids, scores = generate(task, None if key is None else jax.random.key(key))
    assert ids.shape == (4, LENGTH) and ids.dtype == jnp.int32
    ended = ids == CONFIG.sep_id
    valid = np.cumsum(ended, axis=1) - ended == 0
    np.testing.assert_array_equal(ids[~valid], CONFIG.pad_id)
    words = jax.nn.log_softmax(full_logits(ids, jnp.asarray(valid)))
    sums = (jnp.take_along_axis(words, ids[..., None], axis=2)[..., 0] * valid).sum(axis=1)
    lengths = PROMPT_LENGTH + (valid & ~ended).sum(axis=1)
    np.testing.assert_allclose(scores, sums / lengths**0.7, rtol=1e-4)


def test_one_beam_takes_the_likeliest_token() -> None:
    ids, _ = generate(Captioning(num_beams=1, max_decode_length=LENGTH + PROMPT_LENGTH))
    valid = np.cumsum(ids == CONFIG.sep_id, axis=1) - (ids == CONFIG.sep_id) == 0
    likeliest = full_logits(ids, jnp.asarray(valid)).argmax(axis=-1)
    np.testing.assert_array_equal(ids[valid], likeliest[valid])


def test_more_beams_find_likelier_captions() -> None:
    few, many = (generate(Captioning(k, max_decode_length=9))[1].mean() for k in (1, 8))
    assert many > few


def test_samples_follow_their_key_and_their_temperature() -> None:
    task = Captioning(max_decode_length=11)
    (first, score), (again, _), (other, _) = (generate(task, jax.random.key(i)) for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    cold = dataclasses.replace(task, temperature=1e-4)
    greedy = generate(dataclasses.replace(task, num_beams=1))[0]
    np.testing.assert_array_equal(generate(cold, jax.random.key(0))[0], greedy)
    narrow = dataclasses.replace(task, top_p=1e-6)
    np.testing.assert_array_equal(generate(narrow, jax.random.key(0))[0], greedy)
    assert generate(cold, jax.random.key(0))[1].mean() > score.mean()


def test_a_caption_may_have_one_token() -> None:
    for key in (None, jax.random.key(0)):
        ids, _ = generate(Captioning(max_decode_length=PROMPT_LENGTH + 1), key)
        assert ids.shape == (4, 1)


def test_a_clip_s_caption_does_not_depend_on_other_clips_or_on_padding() -> None:
    task = Captioning(max_decode_length=9)
    together, scores = generate(task)
    frames = int(CLIPS["video_mask"][2].sum())
    noise = jnp.where(CLIPS["video_mask"][..., None], CLIPS["video"], 5.0)
    for length, video in ((CONFIG.max_video_len, noise), (frames, CLIPS["video"])):
        alone = {"video": video[2:3, :length], "video_mask": CLIPS["video_mask"][2:3, :length]}
        ids, score = compiled(task)(VARIABLES, alone, None)
        np.testing.assert_array_equal(ids[0], together[2])
        np.testing.assert_allclose(score[0], scores[2], rtol=1e-4)


def test_bfloat16_activations_score_nearly_the_same() -> None:
    half = VLM(dataclasses.replace(CONFIG, dtype="bfloat16"))
    task = Captioning(num_beams=3, max_decode_length=9)
    (_, expected), (_, scores) = generate(task), generate(task, model=half)
    assert scores.dtype == jnp.float32
    np.testing.assert_allclose(scores, expected, rtol=0.05)


def test_the_loss_ignores_padding_and_has_dropout() -> None:
    model = VLM(dataclasses.replace(CONFIG, dropout_rate=0.1))
    loss = jax.jit(nn.apply(Captioning().loss, model))

    def of(batch: dict[str, jax.Array], seed: int) -> float:
        rngs = {"dropout": jax.random.key(seed)}
        return float(loss(VARIABLES, batch, jax.random.key(0), rngs=rngs)[0])

    other = BATCH | {"text": jnp.where(BATCH["text_mask"], BATCH["text"], 7)}
    assert of(BATCH, 0) == of(other, 0)
    assert of(BATCH, 0) != of(BATCH, 1)
    nothing = BATCH | {"text_mask": jnp.zeros_like(BATCH["text_mask"])}
    assert of(nothing, 0) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_beams", 0), ("max_decode_length", 3), ("temperature", 0.0), ("top_p", 1.5)],
)
def test_wrong_settings_are_named(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"config.task.{field} is {value}, expected"):
        Captioning(**{field: value})


def test_captions_longer_than_the_model_s_text_are_refused() -> None:
    longest = LENGTH + PROMPT_LENGTH
    with pytest.raises(UserError, match=f"max_decode_length is {longest + 1}, .* {longest}, as"):
        generate(Captioning(max_decode_length=longest + 1))
