"""What the data browser shows is what training sees."""

import base64
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict
from PIL import Image

from configs import demo, demo_retrieval
from vtmask import attention, masking, recipe, tokenizers
from vtmask.inspection import inspect
from vtmask.masking import MaskingScheme
from vtmask.models import VLM, initial_params
from vtmask.tasks import Pretrain, Retrieval
from vtmask.tasks.pretrain import WHOLE, Budget
from vtmask.tokenizers import CONTROL_SYMBOLS, WordPiece
from vtmask.training import sharding
from vtmask.training.step import TrainState, make_train_step

ROOT = Path(__file__).parents[2]
LINES = ["slide the red ball to the right", "now spin the blue box", "then lift a green star"] * 9
PIECES = [*CONTROL_SYMBOLS, "it", "'", "s", "n", "t", "do", "##ing", "red", "ball", "."]
TOKENIZERS = [tokenizers.train(LINES, 60), WordPiece("\n".join(PIECES).encode())]
CONFIGS = synthetic.CONFIGS

both = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["SentencePiece", "WordPiece"])


def config(folder: Path, base: Any = demo) -> ConfigDict:
    small = base.get_config()
    small.batch_size = 16
    small.data.name, small.data.dir, small.data.split = "demo/tiny", str(folder), "train"
    return small


class ToldMasks(Pretrain):
    """Pre-training that tells what it masked."""

    def masked_loss(
        self,
        model: VLM,
        batch: dict[str, jax.Array],
        masked: masking.Masked,
        deterministic: bool,
        budget: Budget = WHOLE,
    ) -> Any:
        loss, _ = super().masked_loss(model, batch, masked, deterministic, budget)
        return loss, masked._asdict()


@pytest.mark.parametrize("step", [0, 3])
def test_the_masks_are_those_of_the_training_step(step: int) -> None:
    task, model, seed = ToldMasks(MaskingScheme()), VLM(CONFIGS), 7
    batch = synthetic.SyntheticBatches().batch(step)
    mesh = sharding.make_mesh()
    optimizer = optax.sgd(0.1)
    train_step = make_train_step(model, task, optimizer, lambda _: 0.1, seed, mesh)
    params = initial_params(model, seed)
    state = TrainState(jnp.asarray(step, jnp.int32), params, optimizer.init(params))
    _, trained = train_step(state, sharding.put_batch(batch, mesh))
    shown = inspect.with_masks(task, batch, seed, step, CONFIGS)
    assert shown["text_masked"].any() and shown["video_masked"].any()
    for ours, theirs in [("seen", "text"), *[(f"{k}_masked",) * 2 for k in ("text", "video")]]:
        np.testing.assert_array_equal(shown[ours], trained[theirs], err_msg=ours)


def test_retrieval_masks_nothing() -> None:
    batch = synthetic.SyntheticBatches().batch(0)
    shown = inspect.with_masks(Retrieval(1), batch, 0, 0, CONFIGS)
    np.testing.assert_array_equal(shown["seen"], batch["text"])
    assert set(inspect.cases(shown, CONFIGS)) == {"nothing masked"}
    assert inspect.summary(shown, CONFIGS)["masked"] == "0.0% of frames, 0.0% of tokens"


def small_batch() -> inspect.Batch:
    """Four clips of two frames, the second one of padding, and one or two words."""
    sep, pad = CONFIGS.sep_id, CONFIGS.pad_id
    text = np.array([[9, 8, sep], [9, sep, pad], [9, 8, sep], [9, 8, sep]])
    return {
        "video_mask": np.array([[1, 0]] * 4, bool),
        "video_masked": np.array([[0, 0], [1, 0], [1, 0], [0, 0]], bool),
        "text": text,
        "text_mask": text != pad,
        "text_masked": np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]], bool),
    }


def test_cases_and_kinds() -> None:
    batch = small_batch()
    cases = ["whole text", "whole video", "ordinary", "nothing masked"]
    assert inspect.cases(batch, CONFIGS).tolist() == cases
    assert [[inspect.KINDS[k] for k in row] for row in inspect.kinds(batch)[:2]] == [
        ["[CLS] or [SEP]", "frame", "padding"]
        + ["[CLS] or [SEP]", "masked token", "masked token", "[CLS] or [SEP]"],
        ["[CLS] or [SEP]", "masked frame", "padding"]
        + ["[CLS] or [SEP]", "token", "[CLS] or [SEP]", "padding"],
    ]


def test_summary() -> None:
    found = inspect.summary(small_batch(), CONFIGS)
    assert found["padding"] == "17.9% of positions (video 50.0%, text 8.3%)"  # 5 of 28, 1 of 12
    assert found["masked"] == "50.0% of frames, 42.9% of tokens"  # 2 of 4, 3 of 7
    assert found["whole text"] == "25.0% of clips"


@both
@given(data=st.data())
def test_parts_of_tokens_join_to_the_text(tokenizer: tokenizers.Tokenizer, data: Any) -> None:
    ids = data.draw(st.lists(st.integers(5, tokenizer.vocab_size - 1)))
    tokens = inspect.decode_tokens(tokenizer, ids, ids, [False] * len(ids))
    assert "".join(token.text for token in tokens) == tokenizer.decode(ids)


@both
def test_masked_tokens_show_what_the_model_is_given(tokenizer: tokenizers.Tokenizer) -> None:
    [red], [ball] = ([max(ids)] for ids in tokenizer.encode(["red", "ball"]))
    mask, sep = tokenizer.mask_id, tokenizer.sep_id
    tokens = inspect.decode_tokens(
        tokenizer, [red, ball, red, sep], [mask, red, red, sep], [True, True, True, False]
    )
    assert [token.seen for token in tokens[:2]] == ["[MASK]", tokenizer.decode([red])]
    clip = inspect.Clip("v", (2, 4), None, "ordinary", [False, True], tokens)
    title, video, text, words, seen = inspect.clip_lines(clip, colour=False)
    assert title == "v, 2–4 s: ordinary"
    assert video.split() == ["video", "2", "░▓"] and text.split() == ["text", "4", "▓▓▓░"]
    assert words.endswith(" [SEP]") and "\033" not in words
    assert re.fullmatch(r"  seen  \[MASK\] ?\[.+\] ?\[.+\] \[SEP\]", seen)
    assert "\033[33m" in list(inspect.clip_lines(clip, colour=True))[-1]


def test_place_is_told_only_where_it_is_certain() -> None:
    video = np.array([[1], [2], [1], [2], [3]], np.float16)
    assert inspect.place(video, video[2:5]) == (2, 5)
    assert inspect.place(video, video[4:]) == (4, 5)
    for elsewhere in (video[:2], video[:0], video[4:] + 1):
        assert inspect.place(video, elsewhere) is None


@given(st.integers(1, 6), st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_paths_cover_the_squares_of_their_kind(columns: int, kinds: list[int]) -> None:
    cells = np.resize(kinds, (-(-len(kinds) // columns), columns))
    drawing = inspect.paths(cells)
    drawn = np.zeros((drawing.rows, drawing.columns), int)
    for kind, path in drawing.paths.items():
        for x, y, length, back in re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", path):
            assert length == back
            drawn[int(y), int(x) : int(x) + int(length)] += kind
    np.testing.assert_array_equal(drawn, cells)


@given(st.lists(st.integers(0, 500), min_size=1))
def test_histogram_counts_all(lengths: list[int]) -> None:
    lines = [line.split() for line in inspect.histogram(np.array(lengths))]
    assert len(lines) <= 12
    assert sum(int(line[-1]) for line in lines) == len(lengths)
    for one, other in pairwise(lines):
        assert int(one[0].split("–")[-1]) + 1 == int(other[0].split("–")[0])


def test_attention_of_retrieval_is_isolated_first() -> None:
    batch = inspect.with_masks(Retrieval(1), synthetic.SyntheticBatches().batch(0), 0, 0, CONFIGS)
    first, others = inspect.attention_masks(Retrieval(1), batch, 2).values()
    masks = [jnp.asarray(batch[name][:1]) for name in ("video_mask", "text_mask")]
    np.testing.assert_array_equal(first > 0, attention.isolated(*masks)[0, 0])
    np.testing.assert_array_equal(others > 0, attention.padding(*masks)[0, 0].repeat(16, axis=0))
    assert list(inspect.attention_masks(Pretrain(), batch, 1)) == ["all layers"]


@pytest.fixture(params=[1.0, 2.0])
def shown(demo_dir: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    recipe_ = config(demo_dir)
    datasets = recipe.open_datasets(recipe_)
    datasets[0].seconds_per_feature = request.param  # 2.0: as if all were told twice as fast
    model_config = recipe.model_config(recipe_, datasets[0])
    batches = recipe.make_batches(recipe_, datasets, model_config)
    source = batches.from_step(5)
    batch = inspect.with_masks(Pretrain(), next(source), 0, 5, model_config)
    yield batches, batch, list(inspect.shown_clips(batches, 5, batch, 4, model_config))
    source.close()


def test_clips_are_those_of_the_batch_and_where_their_words_are_said(shown: Any) -> None:
    batches, batch, clips = shown
    ids = batches.video_ids(5)
    assert [clip.video_id for clip in clips] == [ids[0], ids[2], ids[5], ids[7]]
    assert [len(clip.frames) for clip in clips] == batch["video_mask"][[0, 5, 10, 15]].sum(
        1
    ).tolist()
    dataset = batches.datasets[0]
    records = {dataset[i]["video_id"]: dataset[i] for i in range(dataset.num_records)}
    for clip in clips:
        captions = records[clip.video_id]["captions"]
        start, end = clip.seconds
        inside = (captions["start"] >= start) & (captions["end"] <= end)
        said = " ".join(text for text, here in zip(captions["text"], inside, strict=True) if here)
        text = "".join(token.text for token in clip.tokens).removesuffix(" [SEP]")
        assert text and text in said


@pytest.mark.parametrize(
    ("seconds", "count", "begins"),
    [
        ((2, 5), 3, [2, 3, 4]),
        ((1, 2.5), 3, [1, 1.5, 2]),
        ((2, 6), 2, [2, 4]),
        ((0.75, 3), 3, [0.75, 1.5, 2.25]),
        ((6.5, 7.5), 4, [6.5, 6.75, 7, 7.25]),
        ((6, 10), 4, [6, 7, 7.75, 7.75]),  # the video ends before
    ],
)
def test_a_picture_of_each_feature(
    tmp_path: Path, seconds: tuple[float, float], count: int, begins: list[float]
) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=4)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for i in range(32):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 7 * i, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    clip = inspect.Clip("v", seconds, path, "ordinary", [False] * count, [])
    found, problem = inspect.pictures(clip)
    assert not problem
    images = [Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) for uri in found]
    levels = [np.asarray(image).mean() for image in images]
    np.testing.assert_allclose(levels, [4 * 7 * begin for begin in begins], atol=3)


def test_page_and_terminal(
    demo_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inspect.main(config(demo_dir), 2, 3, str(tmp_path / "out"))
    told = capsys.readouterr().out
    assert told.startswith("Step 2 of demo/tiny, train\n") and "\033" not in told
    assert len(re.findall(r"^  video", told, re.MULTILINE)) == 3
    assert f"{16 * 32}\n" in told and "clips/s" in told
    page = (tmp_path / "out/index.html").read_text()
    frames = [int(n) for n in re.findall(r"^  video +(\d+)", told, re.MULTILINE)]
    assert page.count("data:image/jpeg;base64,") == sum(frames)
    assert '<path class="kind3"' in page and '<path class="kind5"' in page
    assert not re.search(r"(src|srcset|href)=\"(?!data:)|<script|url\(", page)


def test_retrieval_with_a_video_that_is_gone(
    demo_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(demo_dir, tmp_path / "data")
    [videos] = (tmp_path / "data").glob("demo/tiny/*/videos")
    shutil.rmtree(videos)
    inspect.main(config(tmp_path / "data", demo_retrieval), 0, 2, str(tmp_path))
    assert "nothing masked          100.0% of clips" in capsys.readouterr().out
    page = (tmp_path / "index.html").read_text()
    assert page.count("No such file or directory") == 2


def test_errors_are_one_line(demo_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vtmask.inspection.inspect", "--config=configs/demo.py"]
        + ["--config.data.name=demo/huge", f"--config.data.dir={demo_dir}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "demo/huge" in done.stderr.splitlines()[-1]
