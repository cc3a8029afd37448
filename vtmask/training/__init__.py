"""Training: state, step, loop, sharding, checkpoints."""

from vtmask.training.loop import train
from vtmask.training.step import Params, TrainState, make_train_step

__all__ = ["Params", "TrainState", "make_train_step", "train"]
