"""Corpus moment retrieval on DiDeMo: finds a sentence's moment in all videos of a split.

    python evaluate.py --config=configs/didemo_corpus_moments.py --model=PRETRAINED/export --out=…

A moment is right if it matches those of two annotators, as in Escorcia et al. (arXiv 1907.12763).
Their moments are segments of 5 s.
"""

from ml_collections import ConfigDict

from configs import didemo


def get_config() -> ConfigDict:
    config = didemo.get_config()
    config.task.name = "corpus_moment_retrieval"
    config.eval.field = "moments"
    config.eval.stride = config.model.get_oneway_ref("max_video_len") // 2
    return config
