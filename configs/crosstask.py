"""Step localisation on CrossTask as published: 5 epochs, one video per step.

    python train.py --config=configs/crosstask.py --config.init_from=… --workdir=…

Windows have 32 s and start every 16 s. Zero-shot:

    python evaluate.py --config=configs/zeroshot.py:crosstask --model=PRETRAINED/export --out=…
"""

from ml_collections import ConfigDict

from configs import finetuning


def get_config() -> ConfigDict:
    config = finetuning.get_config()
    config.batch_size = 1  # videos
    config.num_epochs = 5.0

    config.data.name = "crosstask"

    config.task = ConfigDict()
    config.task.name = "step_localization"
    config.task.isolated_layers = config.model.get_oneway_ref("num_layers")

    config.sampler = ConfigDict()
    config.sampler.name = "step_windows"
    config.sampler.windows = 24
    config.sampler.max_steps = 16
    config.sampler.stride = config.model.get_oneway_ref("max_video_len") // 2

    config.eval.batch_size = 32
    config.eval.stride = config.model.get_oneway_ref("max_video_len") // 2
    return config
