"""Training: state, step, loop, sharding, checkpoints."""

from vtmask.training.loop import train
from vtmask.training.step import Params, TrainState, initial_params, make_train_step

__all__ = ["Params", "TrainState", "initial_params", "make_train_step", "train"]
