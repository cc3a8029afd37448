"""Pre-training VideoCLIP on HowTo100M as published: from BERT, for 25 epochs.

    vtmask convert bert-base-uncased --out=bert
    python train.py --config=configs/videoclip_howto100m.py --config.init_from=bert --workdir=…

Batches have 32 similar videos with 16 clips each.
"""

from ml_collections import ConfigDict, config_dict

from configs import videoclip


def get_config() -> ConfigDict:
    config = videoclip.get_config()
    config.batch_size = 32 * config.sampler.get_oneway_ref("clips_per_record")
    config.num_steps = config_dict.placeholder(int)  # None: set by num_epochs
    config.num_epochs = 25.0

    config.data.name = "howto100m"
    return config
