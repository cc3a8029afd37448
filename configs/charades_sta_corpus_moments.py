r"""Corpus moment retrieval on Charades-STA: finds a sentence's moment in all test videos.

    python evaluate.py --config=configs/charades_sta_corpus_moments.py \
        --model=MOMENTS/export --out=…

MOMENTS is a run of configs/charades_sta.py. configs/zeroshot.py:charades_sta_corpus_moments takes
a model that is only pre-trained.
"""

from ml_collections import ConfigDict

from configs import charades_sta


def get_config() -> ConfigDict:
    config = charades_sta.get_config()
    config.task.name = "corpus_moment_retrieval"
    config.eval.field = "moments"
    return config
