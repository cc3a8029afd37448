"""Video corpus moment retrieval on the demo data set: finds a step's text in all videos.

The model must distinguish seconds, such as one trained with configs/demo_localization.py:

evaluate.py --config=configs/demo_corpus_moments.py --model=LOCALIZATION/export --out=…

For a model that is only pre-trained, use configs/zeroshot.py:demo_corpus_moments.
"""

from ml_collections import ConfigDict

from configs import demo_localization, demo_moments


def get_config() -> ConfigDict:
    config = demo_moments.get_config()
    config.task.name = "corpus_moment_retrieval"
    config.eval.field = "steps"
    config.eval.stride = demo_localization.get_config().eval.stride
    return config
