"""Clips and their lengths as lines of text."""

from collections.abc import Iterable, Iterator

import numpy as np

from vtmask.inspection.clips import ShownClip, ShownToken

_MAX_BINS = 12  # lines of a histogram
_MAX_BAR = 40  # characters of its longest bar


def clip_lines(clip: ShownClip, colour: bool) -> Iterator[str]:
    """Yields four or five lines for a clip; masked tokens are in brackets, or coloured."""
    seconds = f", {clip.seconds[0]:g}–{clip.seconds[1]:g} s" if clip.seconds else ""
    yield f"{clip.video_id}{seconds}: {clip.case}"
    yield f"  video {len(clip.frames):4}  {_bar(clip.frames)}"
    yield f"  text  {len(clip.tokens):4}  {_bar(token.masked for token in clip.tokens)}"
    yield f"  is    {''.join(_paint(token.text, token.masked and colour) for token in clip.tokens)}"
    if any(token.masked for token in clip.tokens):
        yield "  seen  " + "".join(_seen(token, colour) for token in clip.tokens)


def histogram(lengths: np.ndarray) -> Iterator[str]:
    """Yields the lines of a histogram of lengths [N]; widely spread lengths share lines."""
    low, high = int(lengths.min()), int(lengths.max())
    width = -(-(high + 1 - low) // _MAX_BINS)
    counts = np.bincount((lengths - low) // width)
    for start, count in zip(range(low, high + 1, width), counts.tolist(), strict=True):
        label = f"{start}–{start + width - 1}" if width > 1 else f"{start}"
        yield f"{label:>8}  {'█' * round(_MAX_BAR * count / counts.max())} {count}"


def _seen(token: ShownToken, colour: bool) -> str:
    seen = f"[{token.seen.strip('[]')}]" if token.masked else token.text.lstrip()
    space = " " if token.text.startswith(" ") else ""
    return space + _paint(seen, token.masked and colour)


def _bar(masked: Iterable[bool]) -> str:
    return "".join("▓" if is_masked else "░" for is_masked in masked)


def _paint(text: str, colour: bool) -> str:
    return f"\033[33m{text}\033[0m" if colour else text
