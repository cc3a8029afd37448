"""Pre-training VLM on HowTo100M as published: from BERT, 15 epochs, 32 clips per video.

    vtmask convert bert-base-uncased --out=bert
    python train.py --config=configs/vlm_howto100m.py --config.init_from=bert --workdir=…

The published batch has 256 clips of 8 videos. The published activations were float16; the nearest
setting here is --config.model.dtype=bfloat16.
"""

from ml_collections import ConfigDict, config_dict

from configs import vlm


def get_config() -> ConfigDict:
    config = vlm.get_config()
    config.sampler.clips_per_record = 32
    config.num_steps = config_dict.placeholder(int)  # None: set by num_epochs
    config.num_epochs = 15.0

    config.data.name = "howto100m"
    return config
