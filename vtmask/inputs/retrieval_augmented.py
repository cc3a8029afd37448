"""Retrieval-augmented batches (VideoCLIP, section 3.4): each batch is of videos alike.

At the start of an epoch all videos are embedded, as the mean of some of their clips, and every
batch of the epoch becomes a cluster: as many videos as it has, drawn from twice as many nearest
neighbours of one video. So a clip's negatives in the contrastive loss are hard ones.

The clusters of an epoch are kept in the workdir, for a run that resumes in its middle.
"""

import dataclasses
import functools
import io
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from tqdm import tqdm

from vtmask.disk import write_whole
from vtmask.errors import UserError, check_choice
from vtmask.evaluation.ranking import rank
from vtmask.inputs.pipeline import Batch, TrainingBatches
from vtmask.models import AnyModel
from vtmask.tasks.retrieval import Retrieval
from vtmask.training import Params, sharding

INDICES = ("exact", "faiss")


@dataclasses.dataclass(frozen=True)
class RetrievalAugmented:
    """Batches whose videos are neighbours under the parameters at the start of their epoch.

    Attributes:
      batches: the data sets, and how clips are drawn of the videos of a batch.
      workdir: clusters are kept in its folder `clusters`.
      clips_per_video: whose mean is a video's embedding.
      index: "exact" compares all videos; "faiss" (an extra) searches an inverted index of
        4 sqrt(N) lists, faster and approximate.
    """

    batches: TrainingBatches
    model: AnyModel
    task: Retrieval
    workdir: Path
    clips_per_video: int = 8
    index: str = "exact"

    def __post_init__(self) -> None:
        check_choice("config.retrieval_augmented.index", self.index, INDICES)
        if self.num_videos < 2 * self.batches.records_per_batch:
            raise UserError(
                f"retrieval-augmented batches have {self.batches.records_per_batch} videos, drawn "
                f"from twice as many; the data has {self.num_videos}: lower config.batch_size"
            )

    @property
    def inputs(self) -> Mapping[str, str | float]:
        """What made features and tokens."""
        return self.batches.inputs

    @property
    def num_videos(self) -> int:
        return sum(dataset.num_records for dataset in self.batches.datasets)

    @property
    def steps_per_epoch(self) -> int:
        return self.num_videos // self.batches.records_per_batch

    def from_step(self, start_step: int, params: Callable[[], Params]) -> Iterator[Batch]:
        """This host's part of the batches of `start_step` and after.

        Args:
          params: gives the parameters of the step whose batch is asked for; called once an epoch.
        """
        step = start_step
        while True:
            epoch, done = divmod(step, self.steps_per_epoch)
            order = self.clusters(epoch, params)
            yield from self.batches.in_order(order[done:], step)
            step = (epoch + 1) * self.steps_per_epoch

    def video_ids(self, step: int) -> list[str]:
        """The videos of a step's global batch, for error messages; its epoch must have begun."""
        epoch, done = divmod(step, self.steps_per_epoch)
        places = np.load(self._path(epoch))[done]
        starts = np.cumsum([0] + [dataset.num_records for dataset in self.batches.datasets])
        parts = np.searchsorted(starts, places, side="right") - 1
        return [
            self.batches.datasets[part][place - starts[part]]["video_id"]
            for part, place in zip(parts, places.tolist(), strict=True)
        ]

    def clusters(self, epoch: int, params: Callable[[], Params]) -> np.ndarray:
        """Numbers of the videos of each batch of an epoch, int64 [steps_per_epoch, videos].

        Read from the workdir; where they are not there, made with the parameters and written.
        """
        path, shape = self._path(epoch), (self.steps_per_epoch, self.batches.records_per_batch)
        known = multihost_utils.broadcast_one_to_all(np.array(path.exists()))
        order = np.zeros(shape, np.int64)
        if not known:
            rng = np.random.default_rng((self.batches.seed, epoch))
            order = draw_clusters(self.embed_videos(epoch, params()), *shape, rng, self.index)
        elif jax.process_index() == 0:
            order = np.load(path)
        order = np.asarray(multihost_utils.broadcast_one_to_all(order))
        if not known and jax.process_index() == 0:
            path.parent.mkdir(exist_ok=True)
            content = io.BytesIO()
            np.save(content, order)
            write_whole(path, content.getvalue())
        return order

    def embed_videos(self, epoch: int, params: Params) -> np.ndarray:
        """Videos as the means of their clips' pooled frames and texts, float32 [N, H]."""
        size = self.batches.records_per_batch
        count = math.ceil(self.num_videos / size)
        order = np.arange(count * size).reshape(count, size) % self.num_videos
        clips = self._embedded_clips.in_order(order, epoch * count)
        found = [
            np.asarray(self._embed(params, sharding.put_batch(batch, self._mesh)))
            for batch in tqdm(clips, f"embed videos for epoch {epoch}", count, leave=False)
        ]
        return np.concatenate(found)[: self.num_videos]

    @functools.cached_property
    def _embedded_clips(self) -> TrainingBatches:
        sampler: Any = self.batches.sampler
        return dataclasses.replace(
            self.batches,
            sampler=dataclasses.replace(sampler, clips_per_record=self.clips_per_video),
            batch_size=self.batches.records_per_batch * self.clips_per_video,
        )

    @functools.cached_property
    def _mesh(self) -> Mesh:
        return sharding.make_mesh(self._embedded_clips.batch_size)

    @functools.cached_property
    def _embed(self) -> Callable[[Params, dict[str, jax.Array]], jax.Array]:
        """Jits `(params, batch) -> embeddings` of the batch's videos, [R, H]."""

        def embed(params: Params, batch: dict[str, jax.Array]) -> jax.Array:
            embed_pairs = nn.apply(self.task.embed_pairs, self.model)
            video, text = embed_pairs({"params": params}, batch, True)
            clips = (video + text) / 2
            return clips.reshape(-1, self.clips_per_video, clips.shape[-1]).mean(axis=1)

        everywhere = sharding.replicated(self._mesh)
        return jax.jit(
            embed,
            in_shardings=(everywhere, sharding.split_over_data(self._mesh)),
            out_shardings=everywhere,
        )

    def _path(self, epoch: int) -> Path:
        return self.workdir / "clusters" / f"epoch-{epoch:05d}.npy"


def draw_clusters(
    videos: np.ndarray, num_clusters: int, size: int, rng: np.random.Generator, index: str
) -> np.ndarray:
    """Clusters of near neighbours, int64 [num_clusters, size].

    Each is drawn from the 2 `size` nearest, by Euclidean distance, of one of `num_clusters`
    different videos, which is among them and need not be drawn.

    Args:
      videos: embeddings, float32 [N, H].
      size: at most N / 2.
      index: see `RetrievalAugmented`.
    """
    centers = rng.choice(len(videos), num_clusters, replace=False)
    search = _faiss_nearest if index == "faiss" else nearest
    return rng.permuted(search(videos, centers, 2 * size), axis=1)[:, :size]


def nearest(videos: np.ndarray, centers: np.ndarray, count: int) -> np.ndarray:
    """The `count` videos nearest to each center, best first: [N, H], [C] -> int64 [C, count].

    A block of products at a time, as `vtmask.evaluation.ranking` does it.
    """
    # x . y - y . y / 2 is larger the nearer y is to x.
    candidates = np.column_stack([videos, -np.square(videos).sum(axis=1) / 2])
    queries = np.column_stack([videos[centers], np.ones(len(centers), videos.dtype)])
    return rank(queries, candidates, centers, top=count).top_indices.astype(np.int64)


def _faiss_nearest(videos: np.ndarray, centers: np.ndarray, count: int) -> np.ndarray:
    """As `nearest`, by an inverted index."""
    try:
        import faiss
    except ImportError:
        raise UserError(
            'config.retrieval_augmented.index is faiss: pip install -e ".[faiss]", or set it to '
            "exact"
        ) from None
    lists = max(1, min(int(4 * math.sqrt(len(videos))), len(videos) // 39))  # 39 points a list
    searched = max(8, lists // 16)
    found = faiss.index_factory(videos.shape[1], f"IVF{lists},Flat")
    found.train(videos)
    found.add(videos)
    faiss.ParameterSpace().set_index_parameter(found, "nprobe", searched)
    neighbours = found.search(videos[centers], count)[1]
    short = neighbours[:, -1] < 0  # the lists searched had fewer
    if short.any():
        neighbours[short] = nearest(videos, centers[short], count)
    return neighbours
