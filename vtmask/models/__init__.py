"""Models, `VLM` and `VideoCLIP`, and their sizes."""

from vtmask.models.videoclip import VideoCLIP, VideoCLIPConfig
from vtmask.models.vlm import VLM, VLMConfig

__all__ = ["SIZES", "VLM", "AnyModel", "VLMConfig", "VideoCLIP", "VideoCLIPConfig", "create"]

AnyModel = VLM | VideoCLIP

CONFIGS = {"vlm": VLMConfig, "videoclip": VideoCLIPConfig}


def create(config: VLMConfig) -> AnyModel:
    """The model of these sizes."""
    return VideoCLIP(config) if isinstance(config, VideoCLIPConfig) else VLM(config)
