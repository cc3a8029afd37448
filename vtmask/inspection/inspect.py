"""Shows what a model will see at a step of training: the clips, masked as they will be.

    python -m vtmask.inspection.inspect --config=configs/demo.py --config.data.dir=DATA --step=100
    python -m vtmask.inspection.inspect --config=configs/demo.py --config.data.dir=DATA --out=FOLDER

The second also writes FOLDER/index.html, with frames of the videos where there are files.
"""

import dataclasses
import io
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice, pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from matplotlib.figure import Figure
from ml_collections import ConfigDict, config_flags
from PIL import Image

from vtmask import attention, masking, pages, program, recipe, tasks
from vtmask.errors import UserError
from vtmask.features import decode
from vtmask.inputs.pipeline import Batch, TrainingBatches
from vtmask.models import VLMConfig
from vtmask.tasks import Captioning, MomentRetrieval, Pretrain, QuestionAnswering, Retrieval
from vtmask.tokenizers import CONTROL_SYMBOLS, Tokenizer
from vtmask.training.step import step_keys

Task = Pretrain | Retrieval | QuestionAnswering | MomentRetrieval | Captioning

# Kinds of positions, by their numbers in `kinds`.
KINDS = ("padding", "[CLS] or [SEP]", "frame", "masked frame", "token", "masked token")
CASES = ("ordinary", "whole text", "whole video", "nothing masked")
_BATCHES = 32  # summarised
_WARM_UP = 8  # of them come before the clock starts, as some are read ahead
_BINS = 12  # lines of a histogram in the terminal, at most
_BAR = 40  # characters of its longest bar
_THUMBNAIL = 72  # pixels


@dataclasses.dataclass(frozen=True)
class Token:
    """A token of a clip's text.

    Attributes:
      text: its part of the decoded text, with the space before it.
      seen: what the model is given in its place.
      masked: whether it is to be predicted.
    """

    text: str
    seen: str
    masked: bool


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip as the model will see it.

    Attributes:
      seconds: [start, end) in the video; None where its features don't tell one place.
      video: the video's file; None where there is none.
      case: one of `CASES`.
      frames: whether each is to be predicted.
    """

    video_id: str
    seconds: tuple[float, float] | None
    video: Path | None
    case: str
    frames: Sequence[bool]
    tokens: Sequence[Token]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Coloured squares: an SVG path for each kind."""

    rows: int
    columns: int
    paths: Mapping[int, str]


def main(config: ConfigDict, step: int, num_clips: int, out: str | None) -> None:
    """Prints what the model sees at a step; writes a page of it where `out` names a folder."""
    task = tasks.create(config.task)
    datasets = recipe.open_datasets(config)
    model_config = recipe.make_model(config, datasets[0]).config
    batches = recipe.make_batches(config, datasets, model_config)
    read, rate = read_batches(batches, step)
    if "text" not in read[0]:
        raise UserError(f"clips of {config.task.name} have no text; this shows clips that have one")
    read = [
        with_masks(task, batch, config.seed, step + i, model_config) for i, batch in enumerate(read)
    ]
    clips = list(shown_clips(batches, step, read[0], num_clips, model_config))
    whole = {name: np.concatenate([batch[name] for batch in read]) for name in read[-1]}
    lengths = {
        "frames": whole["video_mask"].sum(axis=1),
        "tokens": whole["text_mask"].sum(axis=1),
    }
    title = f"Step {step} of {config.data.name}, {config.data.split}"
    facts = {
        "task": config.task.name,
        "sampler": config.sampler.name,
        "seed": config.seed,
        "batch size": config.batch_size,
        "features": f"{datasets[0].feature_extractor}, {datasets[0].seconds_per_feature:g} s each",
        f"clips of steps {step} to {step + len(read) - 1}": len(lengths["frames"]),
        **summary(whole, model_config),
        "read": f"{rate:,.0f} clips/s",
    }
    if recipe.is_retrieval_augmented(config):
        facts["videos"] = "at random here; training draws clusters of videos alike"
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(title, "", sep="\n")
    for clip in clips:
        print(*clip_lines(clip, colour), "", sep="\n")
    for name, fact in facts.items():
        print(f"{name:<24}{fact}")
    for name, counted in lengths.items():
        print("", f"{name} a clip", *histogram(counted), sep="\n")
    if out is not None:
        page = pages.render(
            "inspection/page.html.j2",
            title=title,
            facts=facts,
            lengths={name: (pages.plot(_plot(name, n)), n) for name, n in lengths.items()},
            kinds=KINDS,
            positions=paths(kinds(read[0])),
            attention={
                layers: paths(mask)
                for layers, mask in attention_masks(task, read[0], model_config.num_layers).items()
            },
            model_config=model_config,
            clips=[(clip, *pictures(clip)) for clip in clips],
        )
        path = Path(out) / "index.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
        print("", f"Page: {path}", sep="\n")


def read_batches(batches: TrainingBatches, step: int) -> tuple[list[Batch], float]:
    """The batches of `step` and after, and clips read a second; videos of the first batch only."""
    source = batches.from_step(step)
    read = [next(source), *_without_video(islice(source, _WARM_UP - 1))]
    since = time.perf_counter()
    read += _without_video(islice(source, _BATCHES - _WARM_UP))
    rate = (_BATCHES - _WARM_UP) * batches.batch_size / (time.perf_counter() - since)
    source.close()
    return read, rate


def _without_video(batches: Iterable[Batch]) -> list[Batch]:
    return [{name: batch[name] for name in batch.keys() - {"video"}} for batch in batches]


def with_masks(task: Task, batch: Batch, seed: int, step: int, model_config: VLMConfig) -> Batch:
    """The batch with what training masks in it at this step.

    `text_masked` [B, T] and `video_masked` [B, V] are to be predicted, `seen` [B, T] are the token
    ids that the model is given.
    """
    inputs = {name: batch[name] for name in ("text", "text_mask", "video_mask")}
    if isinstance(task, Pretrain):
        key, _ = step_keys(seed, step)
        masked = jax.device_get(_mask(key, inputs, task.scheme, model_config))
    else:
        masked = (batch["text"], *(np.zeros_like(inputs[k]) for k in ("text_mask", "video_mask")))
    return batch | dict(zip(("seen", "text_masked", "video_masked"), masked, strict=True))


_mask = jax.jit(masking.mask, static_argnums=(2, 3))


def cases(batch: Batch, model_config: VLMConfig) -> np.ndarray:
    """What is masked in each clip, one of `CASES`: [B]."""
    text, video = batch["text_masked"], batch["video_masked"]
    some_text, some_video = text.any(axis=1), video.any(axis=1)
    all_text = (text == words(batch, model_config)).all(axis=1)
    all_video = (video == batch["video_mask"]).all(axis=1)
    return np.select(
        [some_text & all_text & ~some_video, some_video & all_video & ~some_text],
        ["whole text", "whole video"],
        np.where(some_text | some_video, "ordinary", "nothing masked"),
    )


def words(batch: Batch, model_config: VLMConfig) -> np.ndarray:
    """Which tokens may be masked, those that are not special: bool [B, T]."""
    special = (model_config.pad_id, model_config.cls_id, model_config.sep_id)
    return batch["text_mask"] & ~np.isin(batch["text"], special)


def kinds(batch: Batch) -> np.ndarray:
    """The kind of each position, its number in `KINDS`: int [B, L]."""
    frames = np.where(batch["video_masked"], 3, np.where(batch["video_mask"], 2, 0))
    last = batch["text_mask"].sum(axis=1, keepdims=True) - 1
    separator = np.arange(batch["text_mask"].shape[1]) == last
    tokens = np.where(batch["text_masked"], 5, np.where(batch["text_mask"], 4, 0))
    special = np.ones((len(frames), 1), int)
    return np.concatenate([special, frames, special, np.where(separator, 1, tokens)], axis=1)


def summary(batch: Batch, model_config: VLMConfig) -> dict[str, str]:
    """How much of the clips is padding, how much masked, and how: name to figures."""
    found = cases(batch, model_config)
    frames, tokens = batch["video_mask"], batch["text_mask"]
    return {
        "padding": f"{_share(kinds(batch) == 0)} of positions "
        f"(video {_share(~frames)}, text {_share(~tokens)})",
        "masked": f"{_share(batch['video_masked'][frames])} of frames, "
        f"{_share(batch['text_masked'][words(batch, model_config)])} of tokens",
        **{case: f"{_share(found == case)} of clips" for case in CASES if case in found},
    }


def _share(true: np.ndarray) -> str:
    return f"{true.mean():.1%}" if true.size else "none"


def shown_clips(
    batches: TrainingBatches, step: int, batch: Batch, num_clips: int, model_config: VLMConfig
) -> Iterator[Clip]:
    """Clips of a step's batch, evenly spaced, so that they are of different videos if possible."""
    size = len(batch["text"])
    found = cases(batch, model_config)
    records = batches.records(step)
    for i in np.linspace(0, size - 1, min(num_clips, size)).round().astype(int):
        dataset, index = records[i // batches.sampler.clips_per_record]
        record = dataset[index]
        video_mask, text_mask = batch["video_mask"][i], batch["text_mask"][i]
        where = place(record["features"], batch["video"][i][video_mask])
        length = dataset.seconds_per_feature
        yield Clip(
            video_id=record["video_id"],
            seconds=(where[0] * length, where[1] * length) if where else None,
            video=dataset.path / record["video"] if record["video"] else None,
            case=str(found[i]),
            frames=batch["video_masked"][i][video_mask].tolist(),
            tokens=decode_tokens(
                dataset.tokenizer,
                *(batch[name][i][text_mask].tolist() for name in ("text", "seen", "text_masked")),
            ),
        )


def place(features: np.ndarray, clip: np.ndarray) -> tuple[int, int] | None:
    """Where in a video [S, size] the features of a clip [n, size] are; None unless in one place."""
    if not len(clip):
        return None
    starts = np.flatnonzero((features == clip[0]).all(axis=1)).tolist()
    ends = [
        start + len(clip)
        for start in starts
        if np.array_equal(features[start : start + len(clip)], clip)
    ]
    return (ends[0] - len(clip), ends[0]) if len(ends) == 1 else None


def decode_tokens(
    tokenizer: Tokenizer, text: Sequence[int], seen: Sequence[int], masked: Sequence[bool]
) -> list[Token]:
    """Tokens of a text whose parts join to the decoded text; control symbols are spelt out."""
    names = ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id")
    symbols = {getattr(tokenizer, name): CONTROL_SYMBOLS[i] for i, name in enumerate(names)}
    whole = tokenizer.decode(text)
    # A token's part of the text is what it adds to the tokens before it.
    ends = accumulate((len(tokenizer.decode(text[:n])) for n in range(len(text) + 1)), max)
    tokens = []
    for (start, end), i, j, is_masked in zip(pairwise(ends), text, seen, masked, strict=True):
        part = f" {symbols[i]}" if i in symbols else whole[start:end]
        given = (symbols.get(j) or tokenizer.decode([j])) if is_masked else part.strip()
        tokens.append(Token(part, given, is_masked))
    return tokens


def clip_lines(clip: Clip, colour: bool) -> Iterator[str]:
    """A clip for the terminal, what is masked in brackets or in colour."""
    where = f", {clip.seconds[0]:g}–{clip.seconds[1]:g} s" if clip.seconds else ""
    yield f"{clip.video_id}{where}: {clip.case}"
    yield f"  video {len(clip.frames):4}  {_bar(clip.frames)}"
    yield f"  text  {len(clip.tokens):4}  {_bar(token.masked for token in clip.tokens)}"
    yield f"  is    {''.join(_paint(token.text, token.masked and colour) for token in clip.tokens)}"
    if any(token.masked for token in clip.tokens):
        yield "  seen  " + "".join(_seen(token, colour) for token in clip.tokens)


def _seen(token: Token, colour: bool) -> str:
    seen = f"[{token.seen.strip('[]')}]" if token.masked else token.text.lstrip()
    space = " " if token.text.startswith(" ") else ""
    return space + _paint(seen, token.masked and colour)


def _bar(masked: Iterable[bool]) -> str:
    return "".join("▓" if is_masked else "░" for is_masked in masked)


def _paint(text: str, colour: bool) -> str:
    return f"\033[33m{text}\033[0m" if colour else text


def histogram(lengths: np.ndarray) -> Iterator[str]:
    """Lines that show how often lengths [N] come, several lengths a line where they spread."""
    low, high = int(lengths.min()), int(lengths.max())
    width = -(-(high + 1 - low) // _BINS)
    counts = np.bincount((lengths - low) // width)
    for start, count in zip(range(low, high + 1, width), counts.tolist(), strict=True):
        label = f"{start}–{start + width - 1}" if width > 1 else f"{start}"
        yield f"{label:>8}  {'█' * round(_BAR * count / counts.max())} {count}"


def _plot(name: str, lengths: np.ndarray) -> Figure:
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.add_subplot(xlabel=f"{name} a clip", ylabel="clips")
    counts = np.bincount(lengths)
    axes.bar(range(len(counts)), counts, width=0.9, color=pages.COLOURS[name == "tokens"])
    axes.locator_params(integer=True)
    axes.grid(axis="y", color=pages.INK, alpha=0.15)
    return figure


def attention_masks(task: Task, batch: Batch, num_layers: int) -> dict[str, np.ndarray]:
    """Who may look at whom in the first clip, [L, L] for each group of layers.

    Where a position may look it has the kind of what it sees, else 0.
    """
    video_mask, text_mask = (jnp.asarray(batch[k][:1]) for k in ("video_mask", "text_mask"))
    match task:
        case Retrieval() | QuestionAnswering() | MomentRetrieval():
            layers = task.isolated_layers
            isolated = num_layers if layers is None else layers  # None: in calls apart
        case _:
            isolated = 0
    masks = attention.isolated_layers(video_mask, text_mask, isolated, num_layers)
    if isinstance(task, Captioning):
        masks = attention.text_generation(video_mask, text_mask)
    seen = np.asarray(masks[0]) * kinds(batch)[0]
    if not 0 < isolated < num_layers:
        return {"all layers": seen[0]}
    return {f"the first {isolated} of {num_layers} layers": seen[0], "the other layers": seen[-1]}


def paths(cells: np.ndarray) -> Drawing:
    """Squares of numbered kinds, [rows, columns]; kind 0 is left blank."""
    found: dict[int, list[str]] = {}
    for y, row in enumerate(cells):
        starts = np.flatnonzero(np.diff(row, prepend=-1)).tolist()
        for x, end in pairwise([*starts, len(row)]):
            found.setdefault(int(row[x]), []).append(f"M{x} {y}h{end - x}v1h{x - end}z")
    found.pop(0, None)
    joined = {kind: "".join(path) for kind, path in sorted(found.items())}
    return Drawing(rows=len(cells), columns=cells.shape[1], paths=joined)


def pictures(clip: Clip) -> tuple[list[str], str]:
    """What is on screen as each feature of the clip begins, as data URIs; or why it isn't known."""
    if clip.video is None:
        return [], "the record names no video file"
    if clip.seconds is None:
        return [], "the features don't tell which seconds these are"
    begins = np.linspace(*clip.seconds, len(clip.frames), endpoint=False).tolist()
    try:
        return [_jpeg(picture) for picture in decode.pictures(clip.video, begins, _THUMBNAIL)], ""
    except UserError as error:
        return [], str(error)


def _jpeg(pixels: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=75)
    return pages.data_uri("image/jpeg", data.getvalue())


if __name__ == "__main__":
    # Not above: a program that imports this file has a --config of its own.
    CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe: configs/demo.py, …")
    STEP = flags.DEFINE_integer("step", 0, "Step of training, from 0.", lower_bound=0)
    NUM_CLIPS = flags.DEFINE_integer("num_clips", 8, "Clips to show.", lower_bound=0)
    OUT = flags.DEFINE_string("out", None, "Folder of the page; none is written without it.")
    flags.mark_flag_as_required("config")
    program.run(lambda: main(CONFIG.value, STEP.value, NUM_CLIPS.value, OUT.value))
