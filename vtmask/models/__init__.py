"""Models, `VLM` and `VideoCLIP`, and their sizes."""

from vtmask.models.videoclip import VideoCLIP, VideoCLIPSizes
from vtmask.models.vlm import VLM, VLMSizes

__all__ = ["SIZES", "VLM", "AnyModel", "VLMSizes", "VideoCLIP", "VideoCLIPSizes", "create"]

AnyModel = VLM | VideoCLIP

SIZES = {"vlm": VLMSizes, "videoclip": VideoCLIPSizes}


def create(sizes: VLMSizes) -> AnyModel:
    """The model of these sizes."""
    return VideoCLIP(sizes) if isinstance(sizes, VideoCLIPSizes) else VLM(sizes)
