"""The clips that are shown come from the batch, with their words and positions."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from vtmask import recipe, tokenizers
from vtmask.inspection import clips, masks, terminal
from vtmask.inspection.clips import ShownClip
from vtmask.tasks import Pretrain
from vtmask.tokenizers import CONTROL_SYMBOLS, WordPiece

LINES = ["slide the red ball to the right", "now spin the blue box", "then lift a green star"] * 9
PIECES = [*CONTROL_SYMBOLS, "it", "'", "s", "n", "t", "do", "##ing", "red", "ball", "."]
TOKENIZERS = [tokenizers.train(LINES, 60), WordPiece("\n".join(PIECES).encode())]

both = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["SentencePiece", "WordPiece"])


@both
@given(data=st.data())
def test_parts_of_tokens_join_to_the_text(tokenizer: tokenizers.Tokenizer, data: Any) -> None:
    ids = data.draw(st.lists(st.integers(5, tokenizer.vocab_size - 1)))
    tokens = clips.shown_tokens(tokenizer, ids, ids, [False] * len(ids))
    assert "".join(token.text for token in tokens) == tokenizer.decode(ids)


@both
def test_masked_tokens_show_what_the_model_sees(tokenizer: tokenizers.Tokenizer) -> None:
    [red], [ball] = ([max(ids)] for ids in tokenizer.encode(["red", "ball"]))
    mask, sep = tokenizer.mask_id, tokenizer.sep_id
    tokens = clips.shown_tokens(
        tokenizer, [red, ball, red, sep], [mask, red, red, sep], [True, True, True, False]
    )
    assert [token.seen for token in tokens[:2]] == ["[MASK]", tokenizer.decode([red])]
    clip = ShownClip("v", (2, 4), None, "ordinary", [False, True], tokens)
    title, video, text, words, seen = terminal.clip_lines(clip, colour=False)
    assert title == "v, 2–4 s: ordinary"
    assert video.split() == ["video", "2", "░▓"] and text.split() == ["text", "4", "▓▓▓░"]
    assert words.endswith(" [SEP]") and "\033" not in words
    assert re.fullmatch(r"  seen  \[MASK\] ?\[.+\] ?\[.+\] \[SEP\]", seen)
    assert "\033[33m" in list(terminal.clip_lines(clip, colour=True))[-1]


def test_a_clip_is_located_only_if_it_occurs_once() -> None:
    video = np.array([[1], [2], [1], [2], [3]], np.float16)
    assert clips.locate(video, video[2:5]) == (2, 5)
    assert clips.locate(video, video[4:]) == (4, 5)
    for elsewhere in (video[:2], video[:0], video[4:] + 1):
        assert clips.locate(video, elsewhere) is None


@pytest.fixture(params=[1.0, 2.0])
def shown(demo_dir: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    recipe_ = synthetic.recipe(
        "demo", batch_size=16, data__name="demo/tiny", data__dir=str(demo_dir)
    )
    datasets = recipe.open_datasets(recipe_)
    datasets[0].seconds_per_feature = request.param  # 2.0: as if everything took twice as long
    model_config = recipe.make_model(recipe_, datasets[0]).config
    batches = recipe.make_batches(recipe_, datasets, model_config)
    source = batches.from_step(5)
    batch = masks.add_masks(Pretrain(), next(source), 0, 5, model_config)
    yield batches, batch, list(clips.shown_clips(batches, 5, batch, 4, model_config))
    source.close()


def test_clips_come_from_the_batch_and_their_words_from_their_captions(shown: Any) -> None:
    batches, batch, clips_ = shown
    ids = batches.video_ids(5)
    assert [clip.video_id for clip in clips_] == [ids[0], ids[2], ids[5], ids[7]]
    assert [len(clip.frames) for clip in clips_] == batch["video_mask"][[0, 5, 10, 15]].sum(
        1
    ).tolist()
    dataset = batches.datasets[0]
    records = {dataset[i]["video_id"]: dataset[i] for i in range(dataset.num_records)}
    for clip in clips_:
        captions = records[clip.video_id]["captions"]
        start, end = clip.seconds
        inside = (captions["start"] >= start) & (captions["end"] <= end)
        words = " ".join(
            text for text, is_inside in zip(captions["text"], inside, strict=True) if is_inside
        )
        text = "".join(token.text for token in clip.tokens).removesuffix(" [SEP]")
        assert text and text in words
