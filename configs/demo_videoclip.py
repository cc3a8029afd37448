"""VideoCLIP on the demo data set: a small model that trains in minutes on two CPU cores.

python train.py --config=configs/demo_videoclip.py --config.data.dir=demo-run/data --workdir=…
"""

from ml_collections import ConfigDict

from configs import demo, videoclip


def get_config() -> ConfigDict:
    published, config = videoclip.get_config(), demo.get_config()
    config.num_steps = 600
    config.task = published.task
    config.retrieval_augmented = published.retrieval_augmented

    config.sampler.name = "overlapped_clips"
    config.sampler.clips_per_record = 4
    config.sampler.min_frames = 3
    config.sampler.max_frames = 5  # a step in the demo lasts 3.5 to 6 seconds

    config.model.name = "videoclip"
    config.model.num_video_layers = 2

    config.optim.lr = 1e-3
    return config
