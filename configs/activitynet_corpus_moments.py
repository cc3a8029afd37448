r"""Corpus moment retrieval on ActivityNet Captions: finds a sentence's moment in all videos.

    python evaluate.py --config=configs/activitynet_corpus_moments.py \
        --model=MOMENTS/export --out=…

MOMENTS is a run of configs/activitynet_moments.py. configs/zeroshot.py:activitynet_corpus_moments
takes a model that is only pre-trained.
"""

from ml_collections import ConfigDict

from configs import activitynet_moments


def get_config() -> ConfigDict:
    config = activitynet_moments.get_config()
    config.task.name = "corpus_moment_retrieval"
    config.eval.field = "moments"
    return config
