"""Clusters contain neighbours, are made once per epoch with its parameters, and survive a kill."""

import dataclasses
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic
from ml_collections import ConfigDict

from vtmask import recipe
from vtmask.errors import UserError
from vtmask.inputs import samplers
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import Batch, TrainingBatches
from vtmask.models import VideoCLIP, VideoCLIPConfig, initial_params
from vtmask.tasks.encoding import Separate
from vtmask.tasks.pretrain import Pretrain
from vtmask.tasks.retrieval import Retrieval
from vtmask.training import Params, retrieval_augmented, sharding, train
from vtmask.training.retrieval_augmented import RetrievalAugmented, draw_clusters, nearest

VIDEOS_A_BATCH, CLIPS = 4, 3  # of 24 videos, so an epoch has 6 batches


@pytest.fixture(scope="module")
def dataset(demo_dir: Path) -> Dataset:
    return Dataset("demo/tiny", "train", str(demo_dir))


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> VideoCLIP:
    small = dataclasses.asdict(synthetic.CALM) | {"num_layers": 1, "num_video_layers": 1}
    tokens = {"vocab_size": dataset.tokenizer.vocab_size, "feature_size": dataset.feature_size}
    return VideoCLIP(VideoCLIPConfig(**small | tokens))


@pytest.fixture(scope="module")
def params(model: VideoCLIP) -> Params:
    mesh = sharding.make_mesh()
    return jax.device_put(initial_params(model, 0), sharding.replicated(mesh))


def batches(dataset: Dataset, model: VideoCLIP, **options: Any) -> TrainingBatches:
    sampler = samplers.OverlappedClips(model.config, 2, max_frames=model.config.max_video_len)
    settings = {"batch_size": 2 * VIDEOS_A_BATCH, "seed": 7} | options
    return TrainingBatches([dataset], sampler, **settings)


def augmented(
    workdir: Path, dataset: Dataset, model: VideoCLIP, **options: Any
) -> RetrievalAugmented:
    clips_per_video, index = options.pop("clips_per_video", CLIPS), options.pop("index", "exact")
    source = batches(dataset, model, **options)
    task = Retrieval(None, "both")
    return RetrievalAugmented(source, model, task, workdir, clips_per_video, index)


def taken(source: RetrievalAugmented, params: Params, steps: range) -> list[Batch]:
    """Returns the batches of steps from 0, as training takes them."""
    stream, actual = source.from_step(0), []
    for step in steps:
        if source.needs_params(step):
            source.prepare(step, params)
        actual.append(next(stream))
    return actual


def squared_distances(videos: np.ndarray) -> np.ndarray:
    return np.square(videos[:, None] - videos).sum(axis=-1)


def test_the_nearest_have_the_smallest_distances() -> None:
    videos = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    videos *= np.linspace(0.1, 3, 50, dtype=np.float32)[:, None]  # norms differ
    centers = np.array([3, 49, 20])
    expected = squared_distances(videos)[centers].argsort(axis=1)[:, :10]
    np.testing.assert_array_equal(nearest(videos, centers, 10), expected)


def test_faiss_is_exact_if_it_searches_all_lists() -> None:
    videos = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    centers = np.arange(0, 200, 7)
    actual = retrieval_augmented._faiss_nearest(videos, centers, 20)
    np.testing.assert_array_equal(actual, nearest(videos, centers, 20))


def test_faiss_finds_most_of_the_nearest_and_as_many_as_asked() -> None:
    videos = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)  # 51 lists
    centers = np.arange(0, 2000, 97)
    actual, exact = (
        search(videos, centers, 20) for search in (retrieval_augmented._faiss_nearest, nearest)
    )
    assert np.mean([len(set(a) & set(b)) for a, b in zip(actual, exact, strict=True)]) > 15
    everything = retrieval_augmented._faiss_nearest(videos, centers, 1500)  # beyond 8 lists
    assert all(len(set(row)) == 1500 and row.min() >= 0 for row in everything)


@pytest.mark.parametrize("size", [2, 5])
def test_a_cluster_is_drawn_from_twice_as_many_neighbours(size: int) -> None:
    videos = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    actual = draw_clusters(videos, 8, size, np.random.default_rng(3), "exact")
    assert actual.shape == (8, size)
    lists = squared_distances(videos).argsort(axis=1)[:, : 2 * size]
    for cluster in actual:
        assert len(set(cluster)) == size
        assert any(set(cluster) <= set(neighbours) for neighbours in lists)
    others = draw_clusters(videos, 8, size, np.random.default_rng(4), "exact")
    assert (actual != others).any()


def test_clusters_do_not_depend_on_the_order_of_near_ties() -> None:
    """Either of two almost equal videos may be the nearer one."""
    videos = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    one, other = (
        draw_clusters(
            np.concatenate([videos, videos * (1 + shift)]), 8, 4, np.random.default_rng(3), "exact"
        )
        for shift in (np.float32(1e-4), np.float32(-1e-4))
    )
    np.testing.assert_array_equal(one, other)


def test_videos_are_embedded_as_the_mean_of_their_clips(
    tmp_path: Path, dataset: Dataset, model: VideoCLIP, params: Params
) -> None:
    source = augmented(tmp_path, dataset, model)
    actual = source.embed_videos(2, params)
    assert actual.shape == (24, model.config.hidden_size)

    drawn = batches(dataset, model, batch_size=CLIPS * VIDEOS_A_BATCH)
    sampler = dataclasses.replace(drawn.sampler, clips_per_record=CLIPS)  # type: ignore[type-var]
    order = np.arange(24).reshape(6, VIDEOS_A_BATCH)
    second_batch = dataclasses.replace(drawn, sampler=sampler).in_order(order[1:2], 2 * 6 + 1)
    batch = jax.tree.map(jnp.asarray, next(second_batch))
    bound = model.bind({"params": params})
    video = Separate().embed_video(bound, batch["video"], batch["video_mask"])
    text = Separate().embed_text(bound, batch["text"], batch["text_mask"])
    clips_of = np.asarray(video + text).reshape(VIDEOS_A_BATCH, CLIPS, -1) / 2
    np.testing.assert_allclose(actual[4:8], clips_of.mean(axis=1), rtol=1e-5, atol=1e-5)


def test_every_epoch_has_its_own_clusters(
    tmp_path: Path, dataset: Dataset, model: VideoCLIP, params: Params
) -> None:
    """Parameters are needed when an epoch begins, and batches have the videos of its clusters."""
    source = augmented(tmp_path, dataset, model)
    needed = [step for step in range(13) if source.needs_params(step)]
    assert needed == [0, 6, 12]
    assert len(taken(source, params, range(13))) == 13
    kept = [np.load(tmp_path / "clusters" / f"epoch-0000{epoch}.npy") for epoch in range(3)]
    assert (kept[0] != kept[1]).any()
    names = [dataset[int(i)]["video_id"] for i in kept[1][2]]
    assert source.video_ids(8) == names
    videos = source.embed_videos(1, params)
    lists = squared_distances(videos).argsort(axis=1)[:, : 2 * VIDEOS_A_BATCH]
    for cluster in kept[1]:
        assert any(set(cluster) <= set(neighbours) for neighbours in lists)


def test_a_resume_reads_the_clusters_of_its_epoch(
    tmp_path: Path, dataset: Dataset, model: VideoCLIP, params: Params
) -> None:
    uninterrupted = taken(augmented(tmp_path, dataset, model), params, range(6))
    rest = list(islice(augmented(tmp_path, dataset, model).from_step(4), 2))
    for one, other in zip(uninterrupted[4:], rest, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_hosts_share_the_same_global_batches(
    tmp_path: Path, dataset: Dataset, model: VideoCLIP, params: Params
) -> None:
    global_batches = taken(augmented(tmp_path, dataset, model), params, range(3))
    parts = [
        list(islice(augmented(tmp_path, dataset, model, host=i, num_hosts=2).from_step(0), 3))
        for i in range(2)
    ]
    for step, batch in enumerate(global_batches):
        joined = {k: np.concatenate([part[step][k] for part in parts]) for k in batch}
        jax.tree.map(np.testing.assert_array_equal, joined, batch)


def test_a_resume_inside_an_epoch_needs_its_clusters(
    tmp_path: Path, dataset: Dataset, model: VideoCLIP, params: Params
) -> None:
    taken(augmented(tmp_path, dataset, model), params, range(1))
    path = tmp_path / "clusters/epoch-00000.npy"
    np.save(path, np.load(path) + 20)
    problem = "epoch-00000.npy: is damaged or of other data, expected 6 batches"
    with pytest.raises(UserError, match=problem):
        next(augmented(tmp_path, dataset, model).from_step(2))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=problem):
        next(augmented(tmp_path, dataset, model).from_step(2))
    path.unlink()
    with pytest.raises(UserError, match="epoch-00000.npy: is missing, so the run can't resume"):
        next(augmented(tmp_path, dataset, model).from_step(2))


class Killed(Exception):
    pass


def test_a_resumed_run_ends_with_the_same_bits(
    tmp_path: Path, dataset: Dataset, model: VideoCLIP, params: Params
) -> None:
    config = synthetic.config()
    config.batch_size, config.num_steps = 2 * VIDEOS_A_BATCH, 8
    config.task = ConfigDict({"name": "retrieval", "isolated_layers": None, "direction": "both"})
    task = Retrieval(None, "both")

    def run(folder: str, stop: Callable[[int], None]) -> Params:
        source = augmented(tmp_path / folder, dataset, model)

        class Stopped:
            inputs, video_ids = source.inputs, source.video_ids
            needs_params, prepare = source.needs_params, source.prepare

            def from_step(self, start: int) -> Any:
                for step, batch in enumerate(source.from_step(start), start):
                    stop(step)
                    yield batch

        start = jax.tree.map(np.array, params)
        return train(config, tmp_path / folder, model, task, Stopped(), start)

    def kill(step: int) -> None:
        if step == 7:  # in the second epoch, after a checkpoint of the first
            raise Killed

    uninterrupted = run("whole", lambda step: None)
    with pytest.raises(Killed):
        run("killed", kill)
    jax.tree.map(np.testing.assert_array_equal, uninterrupted, run("killed", lambda step: None))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"batch_size": 2 * 13}, "batches have 13 videos, drawn from twice as many; .* has 24"),
        ({"clips_per_video": 0}, "augmented.clips_per_video is 0; its product with the 4 videos"),
        ({"index": "annoy"}, "retrieval_augmented.index is 'annoy', expected 'exact' or 'faiss'"),
    ],
)
def test_impossible_settings_are_refused(
    tmp_path: Path, dataset: Dataset, model: VideoCLIP, options: Any, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        augmented(tmp_path, dataset, model, **options)


def test_a_mixture_is_refused(tmp_path: Path, dataset: Dataset, model: VideoCLIP) -> None:
    source = dataclasses.replace(
        batches(dataset, model), datasets=[dataset, dataset], weights=(1.0, 1.0)
    )
    with pytest.raises(UserError, match="config.data.name is demo/tiny, demo/tiny, expected one"):
        RetrievalAugmented(source, model, Retrieval(None), tmp_path)


def test_missing_faiss_is_reported(
    tmp_path: Path, dataset: Dataset, model: VideoCLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval_augmented.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"index is faiss: pip install -e '.\[faiss\]'"):
        augmented(tmp_path, dataset, model, index="faiss")


def test_a_recipe_chooses_retrieval_augmented_batches(
    tmp_path: Path, dataset: Dataset, model: VideoCLIP
) -> None:
    config, source, task = synthetic.recipe("videoclip"), batches(dataset, model), Retrieval(None)
    actual = recipe.retrieval_augmented(config, source, model, task, tmp_path)
    assert isinstance(actual, RetrievalAugmented) and actual.clips_per_video == 8
    config.retrieval_augmented.enabled = False
    assert recipe.retrieval_augmented(config, source, model, task, tmp_path) is source
    vlm = synthetic.recipe("vlm")
    assert recipe.retrieval_augmented(vlm, source, model, task, tmp_path) is source
    config.retrieval_augmented.enabled = True
    config.task.name = "pretrain"
    with pytest.raises(UserError, match="config.task.name is pretrain, expected retrieval"):
        recipe.retrieval_augmented(config, source, model, Pretrain(), tmp_path)
    config.sampler.name = "descriptions"
    others = dataclasses.replace(source, sampler=samplers.Descriptions(model.config))
    with pytest.raises(UserError, match="config.sampler.name is descriptions, expected overlapped"):
        recipe.retrieval_augmented(config, others, model, task, tmp_path)
