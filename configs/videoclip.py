"""VideoCLIP as published: sizes, clips and objective of Xu et al. (EMNLP 2021, section 3)."""

from ml_collections import ConfigDict

from configs import vlm


def get_config() -> ConfigDict:
    config = vlm.get_config()
    config.model.name = "videoclip"
    config.model.num_video_layers = 6

    config.task = ConfigDict()
    config.task.name = "retrieval"
    config.task.isolated_layers = None
    config.task.direction = "both"
    config.task.negatives = "global"  # or "device"

    config.sampler.name = "overlapped_clips"
    config.sampler.min_frames = 3
    config.sampler.max_frames = 32

    config.retrieval_augmented = ConfigDict()
    config.retrieval_augmented.enabled = True  # False: batches of random videos
    config.retrieval_augmented.clips_per_video = 8
    config.retrieval_augmented.index = "exact"  # or "faiss", an extra
    return config
