"""Models: `VLM` and its sizes."""

from vtmask.models.vlm import VLM, VLMSizes

__all__ = ["VLM", "VLMSizes"]
