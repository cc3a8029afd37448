"""Draws a story: one object at a time, moving in front of a mildly varied background."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageChops, ImageDraw

from vtmask.features import create, extract

from .world import FRAME_RATE, Step, Story

SIZE = 96
RGB = {
    "red": (220, 30, 30),
    "orange": (245, 130, 15),
    "yellow": (245, 225, 40),
    "green": (40, 170, 60),
    "blue": (35, 80, 225),
    "purple": (130, 40, 170),
    "pink": (250, 150, 200),
    "white": (245, 245, 245),
}
_MARK_RGB = (25, 25, 25)
_SPRITE = 96
_RADIUS = 40  # radius of an object in its sprite, in pixels
_OVERSAMPLING = 4


def make_video(story: Story, path: Path, extractor: str) -> np.ndarray:
    """Writes the story's MP4 and returns the features of that file, float16 [seconds, size]."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.options = {"preset": "ultrafast", "crf": "28"}
        reformatter = VideoReformatter()  # one for all frames: it keeps its tables
        for pixels in render(story):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(reformatter.reformat(frame, format=stream.pix_fmt)))
        container.mux(stream.encode())
    return extract(path, create(extractor))


def render(story: Story) -> Iterator[np.ndarray]:
    """Yields the story's frames, uint8 [SIZE, SIZE, 3], `FRAME_RATE` per second."""
    rng = np.random.default_rng((*story.key, 1))
    background = _background(rng)
    noise = rng.normal(0, 2, (4, SIZE, SIZE, 1)).round().astype(np.int16)
    frames = [background] * (story.seconds * FRAME_RATE)
    for step in story.steps:
        first = round(step.start * FRAME_RATE)
        for index, frame in enumerate(_draw_step(rng, background, step), first):
            frames[index] = frame
    for index, frame in enumerate(frames):
        pixels = np.asarray(frame, np.int16) + noise[index % len(noise)]
        yield pixels.clip(0, 255).astype(np.uint8)


def _background(rng: np.random.Generator) -> Image.Image:
    """Draws a dim wall with uneven light, and a table whose edge is at a random height."""
    wall = rng.uniform(70, 100) + rng.uniform(-8, 8, 3)
    table = wall + rng.uniform(-18, 18) + rng.uniform(-6, 6, 3)
    edge = rng.uniform(0.55, 0.85) * SIZE
    below = np.arange(SIZE)[:, None, None] > edge
    lamps = Image.fromarray(rng.normal(0, 6, (5, 5)).astype(np.float32))
    light = np.asarray(lamps.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    pixels = np.where(below, table, wall) + light[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@dataclass(frozen=True)
class _Motion:
    """The appearance of an object in each frame of its step; every field is [frames].

    `x` and `y` are in pixels, `scale` is a factor of its size, `angle` is in radians, and `light`
    goes from 0, invisible, to 1, fully lit.
    """

    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    angle: np.ndarray
    light: np.ndarray


def _move(rng: np.random.Generator, action: str, frames: int) -> _Motion:
    """Returns a motion that is visible in any second of the step, with random place and phase."""
    time = np.arange(frames) / FRAME_RATE
    speed = rng.uniform(0.85, 1.2)
    phase = rng.uniform()

    def cycle(seconds: float) -> np.ndarray:
        """Rises from 0 to 1 repeatedly."""
        return (time * speed / seconds + phase) % 1.0

    def wave(seconds: float) -> np.ndarray:
        return np.sin(2 * np.pi * cycle(seconds))

    still = np.zeros(frames)
    x, y, size = still, still, still
    angle = still + rng.uniform(-0.25, 0.25)
    light = still + 1
    match action:
        case "push":
            x = 50 * (cycle(2.5) - 0.5)
        case "pull":
            x = 50 * (0.5 - cycle(2.5))
        case "lift":
            y = 50 * (0.5 - cycle(2.5))
        case "lower":
            y = 50 * (cycle(2.5) - 0.5)
        case "spin":
            angle = 2 * np.pi * cycle(2.5)
        case "shake":
            x = 5 * wave(0.5)
        case "squeeze":
            size = 0.35 * wave(1.0)
        case "flash":
            light = np.where(cycle(0.5) < 0.5, 1.0, 0.35)
    reach = 12 if np.ptp(x) + np.ptp(y) > 20 else 22
    centre = SIZE / 2 + rng.uniform(-reach, reach, 2)
    scale = rng.uniform(13, 18) / _RADIUS * np.exp(size)
    return _Motion(centre[0] + x, centre[1] + y, scale, angle, light)


def _draw_step(
    rng: np.random.Generator, background: Image.Image, step: Step
) -> Iterator[Image.Image]:
    what = step.composition
    sprite = _sprite(what.object, what.colour)
    motion = _move(rng, what.action, round((step.end - step.start) * FRAME_RATE))
    for x, y, scale, angle, light in zip(
        motion.x, motion.y, motion.scale, motion.angle, motion.light, strict=True
    ):
        # Only the square around the object is drawn: from pixel `left`, `top`, `side` pixels wide.
        side = math.ceil(_SPRITE * scale)
        left, top = math.floor(x - side / 2), math.floor(y - side / 2)
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        u, v = x - left, y - top
        middle = _SPRITE / 2
        affine = (cos, sin, middle - cos * u - sin * v, -sin, cos, middle + sin * u - cos * v)
        layer = sprite.transform(
            (side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
        )
        mask = layer.getchannel("A")
        if light < 1:
            mask = mask.point([round(value * light) for value in range(256)])
        frame = background.copy()
        frame.paste(layer, (left, top), mask)
        yield frame


@cache
def _sprite(name: str, colour: str) -> Image.Image:
    """Draws the object alone, RGBA, with a dark off-centre mark that makes rotation visible."""
    shape, mark = _outline(name)
    fill = Image.new("RGB", shape.size, RGB[colour])
    fill.paste(_MARK_RGB, mask=ImageChops.multiply(mark, shape))
    fill.putalpha(shape)
    return fill.resize((_SPRITE, _SPRITE), Image.Resampling.BOX)


def _outline(name: str) -> tuple[Image.Image, Image.Image]:
    """Draws masks of the object and of its mark, oversampled."""
    size = _SPRITE * _OVERSAMPLING
    unit = _RADIUS * _OVERSAMPLING

    def place(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(size / 2 + unit * x, size / 2 + unit * y) for x, y in points]

    def disc(radius: float, y: float = 0.0) -> list[tuple[float, float]]:
        return place([(-radius, y - radius), (radius, y + radius)])

    def bar(x: float, y: float) -> list[tuple[float, float]]:
        return place([(-x, -y), (x, y)])

    shape, mark = Image.new("L", (size, size)), Image.new("L", (size, size))
    draw = ImageDraw.Draw(shape)
    match name:
        case "ball":
            draw.ellipse(disc(0.9), 255)
        case "box":
            draw.rectangle(bar(0.8, 0.8), 255)
        case "ring":
            draw.ellipse(disc(1.0), 255)
            draw.ellipse(disc(0.55), 0)
        case "cone":
            draw.polygon(place([(0, -1.1), (1.0, 0.75), (-1.0, 0.75)]), 255)
        case "star":
            turns = [math.pi * (0.2 * corner - 0.5) for corner in range(10)]
            radii = [1.15, 0.45] * 5
            points = [
                (radius * math.cos(turn), radius * math.sin(turn))
                for radius, turn in zip(radii, turns, strict=True)
            ]
            draw.polygon(place(points), 255)
        case "cross":
            draw.rectangle(bar(1.05, 0.33), 255)
            draw.rectangle(bar(0.33, 1.05), 255)
        case "stick":
            draw.rectangle(bar(0.24, 1.2), 255)
        case "bowl":
            draw.pieslice(disc(1.15, y=-0.45), 0, 180, 255)
    ImageDraw.Draw(mark).rectangle(place([(-0.13, 0.25), (0.13, 1.2)]), 255)
    return shape, mark
