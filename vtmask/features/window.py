"""The stretch of video that one feature covers."""

import dataclasses
from typing import Literal

from vtmask.errors import UserError, check_choice


@dataclasses.dataclass(frozen=True)
class Window:
    """The stretch of video that one feature covers; windows follow each other without gaps.

    Attributes:
      frames: number of frames.
      frame_rate: frames a second.
      image_size: height and width of a frame, the central square of the picture, in pixels.
      interpolation: how frames are resized; bicubic as published.
      fill: what fills up a video's last window: black frames, as published, or its last frame.
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
        """The length in seconds."""
        return self.frames / self.frame_rate

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the pixels, uint8: [frames, image_size, image_size, 3]."""
        return self.frames, self.image_size, self.image_size, 3
