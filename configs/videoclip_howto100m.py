"""Pre-training VideoCLIP on HowTo100M as published: from BERT, 25 epochs, batches of 32 similar
videos with 16 clips each.

    vtmask convert bert-base-uncased --out=bert
    python train.py --config=configs/videoclip_howto100m.py --config.init_from=bert --workdir=…
"""

from ml_collections import ConfigDict, config_dict

from configs import videoclip


def get_config() -> ConfigDict:
    config = videoclip.get_config()
    config.batch_size = 32 * config.sampler.get_oneway_ref("clips_per_record")
    config.num_steps = config_dict.placeholder(int)  # None: those of num_epochs
    config.num_epochs = 25.0

    config.data.name = "howto100m"
    return config
