"""The stretch of video that a feature is of."""

import dataclasses
from typing import Literal

from vtmask.errors import UserError, check_choice


@dataclasses.dataclass(frozen=True)
class Window:
    """The stretch of video that one feature is of; windows follow each other without a gap.

    Attributes:
      frames: how many it has.
      frame_rate: frames a second.
      image_size: height and width of a frame, the central square of the picture, in pixels.
      interpolation: how frames are resized; bicubic is published.
      fill: what a video's last window is filled up with, black frames (published) or its last.
    """

    frames: int
    frame_rate: int
    image_size: int
    interpolation: Literal["bicubic", "area"] = "bicubic"
    fill: Literal["black", "last"] = "black"

    def __post_init__(self) -> None:
        check_choice("Window.interpolation", self.interpolation, ("bicubic", "area"))
        check_choice("Window.fill", self.fill, ("black", "last"))
        for name in ("frames", "frame_rate", "image_size"):
            if (number := getattr(self, name)) < 1:
                raise UserError(f"Window.{name} is {number}, expected at least 1")

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.frame_rate

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of its pixels, uint8: [frames, image_size, image_size, 3]."""
        return self.frames, self.image_size, self.image_size, 3
