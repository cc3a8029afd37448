"""Retrieval-augmented batches (VideoCLIP, section 3.4): each batch has similar videos.

At the start of an epoch all videos are embedded, each as the mean of some of its clips. Every batch
of the epoch becomes a cluster: its n videos are drawn from the 2 n nearest neighbours of one video.
This gives the contrastive loss hard negatives.

The clusters of an epoch are kept in the workdir, so that a run can resume within the epoch.
"""

import dataclasses
import functools
import importlib.util
import io
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from tqdm import tqdm

from vtmask import disk
from vtmask.errors import UserError, check_choice
from vtmask.inputs.pipeline import Batch, TrainingBatches
from vtmask.models import AnyModel
from vtmask.ranking import rank
from vtmask.tasks.retrieval import Retrieval
from vtmask.training import Params, distributed, sharding

INDICES = ("exact", "faiss")


@dataclasses.dataclass(frozen=True)
class RetrievalAugmented:
    """Batches whose videos are neighbours under the parameters at the start of their epoch.

    Attributes:
      batches: of a single data set; draw the clips of each batch's videos.
      workdir: has the folder `clusters`.
      clips_per_video: number of clips whose mean is a video's embedding.
      index: "exact" compares all videos; "faiss" (an extra) searches an inverted index of
        up to 4 sqrt(N) lists, faster and approximate.
    """

    batches: TrainingBatches
    model: AnyModel
    task: Retrieval
    workdir: disk.AnyPath
    clips_per_video: int = 8
    index: str = "exact"

    def __post_init__(self) -> None:
        where = "config.retrieval_augmented"
        check_choice(f"{where}.index", self.index, INDICES)
        if self.index == "faiss" and not importlib.util.find_spec("faiss"):
            raise UserError(
                f"{where}.index is faiss: pip install -e '.[faiss]', or set it to exact"
            )
        if len(self.batches.datasets) > 1:
            names = ", ".join(dataset.name for dataset in self.batches.datasets)
            raise UserError(f"config.data.name is {names}, expected one: {where} takes no mixture")
        videos = self.batches.records_per_batch
        if self.num_videos < 2 * videos:
            raise UserError(
                f"retrieval-augmented batches have {videos} videos, drawn from twice as many; the "
                f"data has {self.num_videos}: lower config.batch_size"
            )
        clips, devices = self.clips_per_video, jax.device_count()
        if clips < 1 or videos * clips % devices:
            raise UserError(
                f"{where}.clips_per_video is {clips}; its product with the {videos} videos of a "
                f"batch must be a positive multiple of {devices}, the number of devices"
            )

    @property
    def inputs(self) -> Mapping[str, str | float]:
        """See `vtmask.inputs.dataset.Dataset.inputs`."""
        return self.batches.inputs

    @property
    def num_videos(self) -> int:
        return self.batches.datasets[0].num_records

    @property
    def steps_per_epoch(self) -> int:
        return self.num_videos // self.batches.records_per_batch

    def from_step(self, start_step: int) -> Iterator[Batch]:
        """Yields this host's part of the batches from `start_step` on.

        Raises:
          UserError: the clusters of an epoch are missing from the workdir, are damaged or belong to
            other data.
        """
        step = start_step
        while True:
            epoch, done = divmod(step, self.steps_per_epoch)
            clusters = self._read_clusters(epoch)
            if clusters is None:
                raise UserError(
                    f"{self._path(epoch)}: is missing, so the run can't resume within its epoch; "
                    "restore the file, or start over in another --workdir"
                )
            yield from self.batches.in_order(clusters[done:], step)
            step = (epoch + 1) * self.steps_per_epoch

    def needs_params(self, step: int) -> bool:
        """Returns True at the start of an epoch."""
        return step % self.steps_per_epoch == 0

    def prepare(self, step: int, params: Params) -> None:
        """Makes the clusters of the epoch that begins at `step`, unless the workdir has them.

        Args:
          params: placed on a mesh, as in a training state.
        """
        epoch = step // self.steps_per_epoch
        if self._read_clusters(epoch) is None:
            self._make_clusters(epoch, params)

    def video_ids(self, step: int) -> list[str]:
        """Returns the videos of a step's global batch, for error messages.

        The clusters of the step's epoch must exist.
        """
        epoch, done = divmod(step, self.steps_per_epoch)
        dataset = self.batches.datasets[0]
        return [dataset[index]["video_id"] for index in _load(self._path(epoch))[done].tolist()]

    def _read_clusters(self, epoch: int) -> np.ndarray | None:
        """Reads the indices of the videos of each batch of an epoch from the first host's workdir.

        Returns:
          int64 [steps_per_epoch, videos], or None if there is no such file.
        """
        path, order = self._path(epoch), np.full(self._shape, -1)
        if distributed.is_first() and path.exists():
            try:
                saved = _load(path)
                fits = saved.shape == self._shape and saved.max() < self.num_videos
            except (ValueError, EOFError):  # damaged
                fits = False
            order = saved if fits else np.full(self._shape, -2)
        order = _of_first_host(order)
        if order[0, 0] == -2:
            raise UserError(
                f"{path}: is damaged or of other data, expected {self._shape[0]} batches of "
                f"{self._shape[1]} videos out of {self.num_videos}; use the run's data or another "
                "--workdir"
            )
        return None if order[0, 0] == -1 else order

    def _make_clusters(self, epoch: int, params: Params) -> None:
        """Clusters the videos for an epoch; the first host writes the clusters."""
        rng = np.random.default_rng((self.batches.seed, epoch))
        videos = self.embed_videos(epoch, params)
        order = _of_first_host(draw_clusters(videos, *self._shape, rng, self.index))
        if distributed.is_first():
            path, content = self._path(epoch), io.BytesIO()
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(content, order)
            disk.write_whole(path, content.getvalue())

    @property
    def _shape(self) -> tuple[int, int]:
        return self.steps_per_epoch, self.batches.records_per_batch

    def embed_videos(self, epoch: int, params: Params) -> np.ndarray:
        """Embeds videos as the means of their clips' pooled frames and texts: float32 [N, H].

        Args:
          params: placed on a mesh, as in a training state.
        """
        size = self.batches.records_per_batch
        count = math.ceil(self.num_videos / size)
        order = np.arange(count * size).reshape(count, size) % self.num_videos
        clips = tqdm(
            self._embedded_clips.in_order(order, epoch * count),
            f"embed videos for epoch {epoch}",
            count,
            leave=False,
            disable=not distributed.is_first(),
        )
        mesh = jax.tree.leaves(params)[0].sharding.mesh
        embedded = [
            np.asarray(distributed.on_host(self._embed(params, sharding.put_batch(batch, mesh))))
            for batch in clips
        ]
        return np.concatenate(embedded)[: self.num_videos]

    @functools.cached_property
    def _embedded_clips(self) -> TrainingBatches:
        sampler: Any = self.batches.sampler
        return dataclasses.replace(
            self.batches,
            sampler=dataclasses.replace(sampler, clips_per_record=self.clips_per_video),
            batch_size=self.batches.records_per_batch * self.clips_per_video,
        )

    @functools.cached_property
    def _embed(self) -> Callable[[Params, dict[str, jax.Array]], jax.Array]:
        """Jits `(params, batch) -> embeddings` of the batch's videos, [R, H]."""

        def embed(params: Params, batch: dict[str, jax.Array]) -> jax.Array:
            embed_pairs = nn.apply(self.task.encoding.embed_pairs, self.model)
            video, text = embed_pairs({"params": params}, batch, True)
            clips = (video + text) / 2
            return clips.reshape(-1, self.clips_per_video, clips.shape[-1]).mean(axis=1)

        return jax.jit(embed)

    def _path(self, epoch: int) -> epath.Path:
        return disk.resolve(self.workdir) / "clusters" / f"epoch-{epoch:05d}.npy"


def _load(path: epath.Path) -> np.ndarray:
    return np.load(io.BytesIO(path.read_bytes()))


def _of_first_host(order: np.ndarray) -> np.ndarray:
    return np.asarray(multihost_utils.broadcast_one_to_all(order)).astype(np.int64)


def draw_clusters(
    videos: np.ndarray, num_clusters: int, size: int, rng: np.random.Generator, index: str
) -> np.ndarray:
    """Draws clusters of near neighbours: int64 [num_clusters, size].

    Each cluster has a different video as its center. Its videos are drawn from the 2 `size` videos
    nearest to the center by Euclidean distance. The center is one of these, but may not be drawn.

    Args:
      videos: embeddings, float32 [N, H].
      size: at most N / 2.
      index: see `RetrievalAugmented`.
    """
    centers = rng.choice(len(videos), num_clusters, replace=False)
    search = _faiss_nearest if index == "faiss" else nearest
    # Sorted by index, not by distance: rounding must not change which neighbours are drawn.
    neighbours = np.sort(search(videos, centers, 2 * size), axis=1)
    return rng.permuted(neighbours, axis=1)[:, :size]


def nearest(videos: np.ndarray, centers: np.ndarray, count: int) -> np.ndarray:
    """Finds the `count` videos nearest to each center, best first: [N, H], [C] -> int64 [C, count].

    `vtmask.ranking` computes the products in blocks.
    """
    # x . y - y . y / 2 is larger the nearer y is to x.
    candidates = np.column_stack([videos, -np.square(videos).sum(axis=1) / 2])
    queries = np.column_stack([videos[centers], np.ones(len(centers), videos.dtype)])
    return rank(queries, candidates, centers, top=count).top_indices.astype(np.int64)


def _faiss_nearest(videos: np.ndarray, centers: np.ndarray, count: int) -> np.ndarray:
    """Approximates `nearest` with an inverted index."""
    import faiss  # an extra

    lists = max(1, min(int(4 * math.sqrt(len(videos))), len(videos) // 39))  # 39 points per list
    searched = max(8, lists // 16)
    inverted = faiss.index_factory(videos.shape[1], f"IVF{lists},Flat")
    inverted.train(videos)
    inverted.add(videos)
    faiss.ParameterSpace().set_index_parameter(inverted, "nprobe", searched)
    neighbours = inverted.search(videos[centers], count)[1]
    short = neighbours[:, -1] < 0  # the searched lists had fewer
    if short.any():
        neighbours[short] = nearest(videos, centers[short], count)
    return neighbours
