"""Generates demo stories: steps of (object, colour, action), with disjoint splits."""

import hashlib
import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

OBJECTS = ("ball", "box", "ring", "cone", "star", "cross", "stick", "bowl")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
ACTIONS = ("push", "pull", "lift", "lower", "spin", "shake", "squeeze", "flash")
SPLITS = ("train", "validation", "test")

FRAME_RATE = 8
STEP_SECONDS = (3.5, 6.0)
GAP_SECONDS = (0.0, 0.5)
VIDEO_SECONDS = (12, 20)
MAX_STEPS = 4
SEGMENT_SECONDS = 5  # length of a moment's segments, as in DiDeMo


class Composition(NamedTuple):
    """The content of a step and its index in the video; each belongs to exactly one split."""

    object: str
    colour: str
    action: str
    order: int


@dataclass(frozen=True)
class Step:
    """A composition on screen from `start` to `end`, in seconds."""

    composition: Composition
    start: float
    end: float


@dataclass(frozen=True)
class Story:
    """One video: `seconds` is its length, and `key` seeds everything else that is random."""

    video_id: str
    key: tuple[int, int, int]
    steps: tuple[Step, ...]
    seconds: int

    def labels(self, features: int, seconds_per_feature: float) -> np.ndarray:
        """Returns each feature's class, int32 [features]: 0 is background, 1 + i `ACTIONS[i]`."""
        labels = np.zeros(features, np.int32)
        middles = (np.arange(features) + 0.5) * seconds_per_feature
        for step in self.steps:
            here = (step.start <= middles) & (middles < step.end)
            labels[here] = 1 + ACTIONS.index(step.composition.action)
        return labels


def segments(step: Step) -> tuple[int, int]:
    """Returns the first and last 5-second segment, from 0, of the step's moment.

    The moment is the run of segments with the highest intersection over union with the step.
    """
    last = math.ceil(step.end / SEGMENT_SECONDS)
    runs = [(i, j) for i in range(last) for j in range(i, last)]

    def overlap(run: tuple[int, int]) -> float:
        start, end = run[0] * SEGMENT_SECONDS, (run[1] + 1) * SEGMENT_SECONDS
        common = min(end, step.end) - max(start, step.start)
        return common / (max(end, step.end) - min(start, step.start))

    return max(runs, key=overlap)


def split_of(composition: Composition, seed: int) -> str:
    """Returns the composition's only split: 70 % train, 10 % validation, 20 % test."""
    digest = hashlib.sha256(f"{seed}/{'/'.join(map(str, composition))}".encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    return "train" if share < 0.7 else "validation" if share < 0.8 else "test"


@cache
def _compositions(seed: int, split: str, order: int) -> tuple[Composition, ...]:
    every = (Composition(*words, order) for words in itertools.product(OBJECTS, COLOURS, ACTIONS))
    return tuple(composition for composition in every if split_of(composition, seed) == split)


def stories(seed: int, split: str, count: int) -> list[Story]:
    """Generates the first `count` videos of a split; a smaller count gives a prefix.

    No two videos have the same sequence of compositions.
    """
    used: set[tuple[Composition, ...]] = set()
    result = []
    for index in range(count):
        key = (seed, SPLITS.index(split), index)
        rng = np.random.default_rng(key)
        compositions = _draw_compositions(rng, seed, split)
        while compositions in used:
            compositions = _draw_compositions(rng, seed, split)
        used.add(compositions)
        steps, seconds = _draw_times(rng, compositions)
        result.append(Story(f"{split}-{index:05d}", key, steps, seconds))
    return result


def _draw_compositions(rng: np.random.Generator, seed: int, split: str) -> tuple[Composition, ...]:
    chosen: list[Composition] = []
    for order in range(rng.integers(3, MAX_STEPS, endpoint=True)):
        used = {composition.object for composition in chosen}
        unused = [c for c in _compositions(seed, split, order) if c.object not in used]
        chosen.append(unused[rng.integers(len(unused))])
    return tuple(chosen)


def _draw_times(
    rng: np.random.Generator, compositions: tuple[Composition, ...]
) -> tuple[tuple[Step, ...], int]:
    """Draws starts and ends on frame boundaries, until the video's length is within bounds."""
    count = len(compositions)
    while True:
        gaps = rng.uniform(*GAP_SECONDS, count)
        lengths = rng.uniform(*STEP_SECONDS, count)
        ends = np.cumsum(gaps + lengths)
        seconds = math.ceil(ends[-1])
        if VIDEO_SECONDS[0] <= seconds <= VIDEO_SECONDS[1]:
            break
    starts, ends = (np.floor(times * FRAME_RATE) / FRAME_RATE for times in (ends - lengths, ends))
    steps = tuple(
        Step(composition, float(start), float(end))
        for composition, start, end in zip(compositions, starts, ends, strict=True)
    )
    return steps, seconds
