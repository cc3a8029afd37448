"""Ranks the moments of a video for a sentence (DiDeMo), in NumPy."""

import numpy as np

from vtmask.errors import UserError

SEGMENTS = 6  # of a video, at most
SECONDS = 5  # of a segment; there is one feature per second


def all_moments(segments: int) -> np.ndarray:
    """Lists all moments of a video as first and last segment, from 0: int [n * (n + 1) / 2, 2].

    As published, moments of one segment come first, then the longer ones from `[0, 1]` on.
    """
    first, last = np.triu_indices(segments)
    order = np.argsort(first != last, kind="stable")
    return np.stack([first, last], axis=1)[order]


def rank(
    frames: np.ndarray,
    pooled_text: np.ndarray,
    video_mask: np.ndarray,
    num_segments: np.ndarray | None = None,
) -> np.ndarray:
    """Ranks all 21 moments of each sentence's video, best match first.

    As published, the score of a moment is the dot product of the pooled text and the mean of the
    hidden states of its seconds. If the video lacks some of these seconds, the mean includes the
    hidden states at padding. A moment exists if the video has a feature of its first second.
    Moments that don't exist come last, in the order of `all_moments`; published rankings leave them
    out.

    Args:
      frames: hidden states of the frames of each sentence's video, without `[CLS]` and `[SEP]`,
        [B, V, H]; V is 30 or more.
      pooled_text: [B, H].
      video_mask: True where the video has a feature, [B, V].
      num_segments: number of segments that the annotators saw, 5 or 6, int [B]
        (`moments/num_segments` of `data/didemo`). Moments that reach beyond don't exist, either.
        None, as published, considers features only: a video with 25 still has moments that end with
        segment 5.

    Returns:
      int [B, 21, 2]: first and last segment, best first. Equal scores are in the order of
      `all_moments`.

    Raises:
      UserError: a score is not finite.
      ValueError: V is less than 30, or the shapes don't fit.
    """
    size, length, width = frames.shape
    seconds = SEGMENTS * SECONDS
    if length < seconds or (video_mask.shape, pooled_text.shape) != ((size, length), (size, width)):
        raise ValueError(
            f"expected frames [B, V, H] with V >= {seconds}, text [B, H] and mask [B, V], "
            f"got {frames.shape}, {pooled_text.shape} and {video_mask.shape}"
        )
    of_second = np.einsum("bsh,bh->bs", frames[:, :seconds], pooled_text)
    of_segment = of_second.reshape(size, SEGMENTS, SECONDS).mean(axis=2)
    good = np.isfinite(of_segment).all(axis=1)
    if not good.all():
        raise UserError(
            f"scores of sentence {np.argmin(good)} are not finite; "
            "check the features and the checkpoint for NaN"
        )

    moments = all_moments(SEGMENTS)
    first, last = moments.T
    segment = np.arange(SEGMENTS)[:, None]
    inside = (first <= segment) & (segment <= last)
    scores = of_segment @ (inside / inside.sum(axis=0))

    exists = video_mask[:, first * SECONDS]
    if num_segments is not None:
        exists = exists & (last < num_segments[:, None])
    return moments[np.argsort(np.where(exists, -scores, np.inf), axis=1, kind="stable")]
