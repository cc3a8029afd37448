"""Video corpus moment retrieval on the demo data set: find a step's text in all videos at once.

Any model that distinguishes seconds works, such as one trained by configs/demo_localization.py:

    python evaluate.py --config=configs/demo_corpus_moments.py --model=LOCALIZATION/export --out=…

configs/zeroshot.py:demo_corpus_moments takes a model that is only pre-trained.
"""

from ml_collections import ConfigDict

from configs import demo_moments


def get_config() -> ConfigDict:
    config = demo_moments.get_config()
    config.task.name = "corpus_moment_retrieval"
    config.eval.field = "steps"
    config.eval.stride = config.model.get_oneway_ref("max_video_len") // 2
    return config
