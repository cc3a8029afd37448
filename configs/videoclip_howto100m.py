"""Pre-training VideoCLIP on HowTo100M as published: from BERT, 25 epochs, batches of 32 videos
alike with 16 clips each.

    vtmask convert bert-base-uncased --out=bert
    python train.py --config=configs/videoclip_howto100m.py --config.init_from=bert --workdir=…
"""

from ml_collections import ConfigDict

from configs import videoclip


def get_config() -> ConfigDict:
    config = videoclip.get_config()
    videos = 32
    config.batch_size = videos * config.sampler.clips_per_record
    config.num_steps = 25 * 1_100_000 // videos

    config.data.name = "howto100m"
    return config
