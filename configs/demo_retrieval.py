r"""Text-video retrieval on the demo data set, from a pre-trained model or from scratch.

    python train.py --config=configs/demo_retrieval.py --config.init_from=PRETRAINED/export \
        --workdir=…
"""

from ml_collections import ConfigDict

from configs import demo_finetuning


def get_config() -> ConfigDict:
    config = demo_finetuning.get_config()
    config.task = ConfigDict()
    config.task.name = "retrieval"
    config.task.isolated_layers = config.model.get_oneway_ref("num_layers")
    config.task.direction = "t2v"
    config.task.negatives = "global"  # or "device"

    config.sampler = ConfigDict({"name": "descriptions"})  # one clip per record, the complete video

    config.model.max_len = 84

    config.eval.field = "descriptions"
    return config
