"""Pre-training a VLM of BERT-large's sizes (Devlin et al., 2019), in bfloat16."""

from ml_collections import ConfigDict

from configs import vlm


def get_config() -> ConfigDict:
    config = vlm.get_config()
    config.model.hidden_size = 1024
    config.model.num_layers = 24
    config.model.num_heads = 16
    config.model.mlp_size = 4096
    config.model.dtype = "bfloat16"
    config.model.scan_layers = True
    config.model.remat = "products"

    config.sharding.fsdp = True
    return config
