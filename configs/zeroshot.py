"""Evaluates a pre-trained model on the task of another recipe, without training for it.

    python evaluate.py --config=configs/zeroshot.py:RECIPE --model=PRETRAINED/export --out=…

RECIPE is msrvtt, youcook2, msrvtt_qa, didemo, activitynet, activitynet_moments, charades_sta,
qvhighlights, crosstask, coin, one of didemo_corpus_moments, activitynet_corpus_moments and
charades_sta_corpus_moments, or one of the demo's. A pre-trained VLM or VideoCLIP encodes each
modality alone, as VideoCLIP does in pre-training (VideoCLIP, section 5; the published `*_zs.yaml`).
For COIN it compares seconds with the names of the classes.
"""

import importlib

from ml_collections import ConfigDict

from vtmask.errors import check_choice

_PUBLISHED = ("msrvtt", "youcook2", "msrvtt_qa", "didemo", "crosstask", "coin")
_OTHERS = ("activitynet", "activitynet_moments", "charades_sta", "qvhighlights")
_CORPUS_MOMENTS = (
    "didemo_corpus_moments",
    "activitynet_corpus_moments",
    "charades_sta_corpus_moments",
)
_DEMO = (
    *("demo_retrieval", "demo_qa", "demo_moments", "demo_corpus_moments", "demo_localization"),
    "demo_segmentation",
)
RECIPES = _PUBLISHED + _OTHERS + _CORPUS_MOMENTS + _DEMO


def get_config(recipe: str = "msrvtt") -> ConfigDict:
    check_choice("--config=configs/zeroshot.py:RECIPE", recipe, RECIPES)
    config = importlib.import_module(f"configs.{recipe}").get_config()
    if "isolated_layers" in config.task:
        config.task.isolated_layers = None
    return config
