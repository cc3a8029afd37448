"""Assigns the steps of a task to seconds of a video in order, in NumPy."""

import numpy as np

from vtmask.errors import UserError


def assign(logits: np.ndarray) -> np.ndarray:
    """Finds the most probable seconds of a task's steps, which are done in order (CrossTask).

    Every step gets one second, later than that of the step before it, so that the sum of the steps'
    log-probabilities is highest. As published, probabilities are a softmax over the steps in each
    second. With a single step they would all be 1, so its logits are compared instead. Among equal
    sums, the assignment with the earliest last step wins, then the one with the earliest step
    before it, and so on.

    If there are more steps than seconds, every second gets a step, again in order and with the
    highest sum, and the remaining steps get none. No video of the published evaluation has so many
    steps.

    Args:
      logits: of every step in every second, [seconds, steps], as `vtmask.evaluation.windows.merge`
        returns them.

    Returns:
      int [steps]: the second of each step, from 0; -1 for a step that gets none.

    Raises:
      UserError: a logit is not finite.
      ValueError: the shape is not as above, or there are no steps.
    """
    if logits.ndim != 2 or not logits.shape[1]:
        raise ValueError(f"expected logits [seconds, steps >= 1], got {logits.shape}")
    bad = np.argwhere(~np.isfinite(logits))
    if len(bad):
        second, step = bad[0]
        raise UserError(
            f"logits: {len(bad)} not finite, the first at second {second}, step {step}; "
            "check the features and the checkpoint for NaN"
        )
    seconds, steps = logits.shape
    scores = _log_softmax(logits.astype(np.float64)) if steps > 1 else logits
    if steps <= seconds:
        return _increasing(scores)
    assigned = np.full(steps, -1)
    assigned[_increasing(scores.T)] = np.arange(seconds)
    return assigned


def _increasing(scores: np.ndarray) -> np.ndarray:
    """Finds strictly increasing rows, one for each column, with the highest sum of scores.

    Args:
      scores: [rows, columns], at least as many rows as columns.

    Returns:
      int [columns].
    """
    rows, columns = scores.shape
    total = np.zeros(rows + 1)  # [r]: best sum of the columns so far, using rows before r only
    last = np.zeros((columns, rows + 1), int)  # [c, r]: row of column c in this sum
    for column in range(columns):
        here = total[:-1] + scores[:, column]
        total = np.concatenate([[-np.inf], np.maximum.accumulate(here)])
        better = here > total[:-1]
        last[column, 1:] = np.maximum.accumulate(np.where(better, np.arange(rows), 0))
    chosen = np.zeros(columns, int)
    end = rows
    for column in reversed(range(columns)):
        end = chosen[column] = last[column, end]
    return chosen


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
