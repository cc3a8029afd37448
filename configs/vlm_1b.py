"""Pre-training a VLM of one billion parameters, split over all devices.

docs/scaling.md lists the memory that it takes.
"""

from ml_collections import ConfigDict

from configs import vlm_large


def get_config() -> ConfigDict:
    config = vlm_large.get_config()
    config.model.hidden_size = 1536
    config.model.num_layers = 36
    config.model.num_heads = 24
    config.model.mlp_size = 6144
    config.model.initializer_range = 0.01
    config.model.remat = "all"
    return config
