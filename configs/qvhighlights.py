"""Moment retrieval on QVHighlights: finds the windows of a video that a query asks for.

    python train.py --config=configs/qvhighlights.py --config.init_from=… --workdir=…

Lines of predictions.jsonl have `qid` and `pred_relevant_windows`, in the form that the published
scorer reads.
"""

from ml_collections import ConfigDict

from configs import charades_sta


def get_config() -> ConfigDict:
    config = charades_sta.get_config()
    config.data.name = "qvhighlights"
    config.eval.split = "validation"
    return config
