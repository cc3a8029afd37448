"""Models, `VLM` and `VideoCLIP`, and their configurations."""

from typing import Any

import jax
import jax.numpy as jnp

from vtmask.models.videoclip import VideoCLIP, VideoCLIPConfig
from vtmask.models.vlm import VLM, VLMConfig

__all__ = [
    "CONFIGS",
    "VLM",
    "AnyModel",
    "VLMConfig",
    "VideoCLIP",
    "VideoCLIPConfig",
    "create",
    "initial_params",
]

AnyModel = VLM | VideoCLIP

CONFIGS = {"vlm": VLMConfig, "videoclip": VideoCLIPConfig}


def create(config: VLMConfig) -> AnyModel:
    """Creates the model of this configuration."""
    return VideoCLIP(config) if isinstance(config, VideoCLIPConfig) else VLM(config)


def initial_params(model: AnyModel, seed: int) -> dict[str, Any]:
    """Draws fresh parameters for a model."""
    config = model.config
    batch = {
        "video": jnp.zeros((1, config.max_video_len, config.feature_size)),
        "video_mask": jnp.ones((1, config.max_video_len), bool),
        "text": jnp.zeros((1, config.max_text_len), jnp.int32),
        "text_mask": jnp.ones((1, config.max_text_len), bool),
    }
    return jax.jit(model.init)(jax.random.key(seed), batch)["params"]
