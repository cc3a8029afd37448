"""Video corpus moment retrieval on the demo data set: a step's text, put to all videos at once.

The model may be any that tells seconds apart, such as one of configs/demo_localization.py:

evaluate.py --config=configs/demo_corpus_moments.py --model=LOCALIZATION/export --out=…

and configs/zeroshot.py:demo_corpus_moments takes one that is pre-trained only.
"""

from ml_collections import ConfigDict

from configs import demo_localization, demo_moments


def get_config() -> ConfigDict:
    config = demo_moments.get_config()
    config.task.name = "corpus_moment_retrieval"
    config.eval.field = "steps"
    config.eval.stride = demo_localization.get_config().eval.stride
    return config
