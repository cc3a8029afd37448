import itertools
from collections.abc import Iterable

import numpy as np
import pytest

from data.demo import world
from data.demo.demo_dataset_builder import Builder

Stories = dict[str, list[world.Story]]
DEFAULT = Builder.builder_configs["default"]


@pytest.fixture(scope="module")
def stories() -> Stories:
    return {s: world.stories(DEFAULT.seed, s, getattr(DEFAULT, s)) for s in world.SPLITS}


def compositions(stories: Iterable[world.Story]) -> set[world.Composition]:
    return {step.composition for story in stories for step in story.steps}


def test_splits_share_no_composition(stories: Stories) -> None:
    shown = {split: compositions(stories[split]) for split in world.SPLITS}
    for one, other in itertools.combinations(world.SPLITS, 2):
        assert not shown[one] & shown[other]
    for split, seen in shown.items():
        assert {world.split_of(composition, DEFAULT.seed) for composition in seen} == {split}


def test_train_has_every_word(stories: Stories) -> None:
    for words in zip(*compositions(stories["train"]), strict=True):
        assert set(words) in ({*world.OBJECTS}, {*world.COLOURS}, {*world.ACTIONS}, {0, 1, 2, 3})


def test_splits_have_their_shares() -> None:
    every = itertools.product(world.OBJECTS, world.COLOURS, world.ACTIONS, range(world.MAX_STEPS))
    splits = [world.split_of(world.Composition(*words), 0) for words in every]
    shares = [splits.count(split) / len(splits) for split in world.SPLITS]
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=0.03)


def test_no_two_videos_have_the_same_steps(stories: Stories) -> None:
    for of_split in stories.values():
        assert len({tuple(s.composition for s in story.steps) for story in of_split}) == len(
            of_split
        )


def test_steps_are_in_order_and_within_the_video(stories: Stories) -> None:
    for story in itertools.chain(*stories.values()):
        assert 12 <= story.seconds <= 20
        assert len({step.composition.object for step in story.steps}) == len(story.steps)
        assert [step.composition.order for step in story.steps] == [*range(len(story.steps))]
        for step in story.steps:
            assert 3.3 <= step.end - step.start <= 6.2
        edges = [0.0, *(t for step in story.steps for t in (step.start, step.end)), story.seconds]
        assert edges == sorted(edges)


def test_labels_follow_the_steps() -> None:
    (story,) = world.stories(0, "train", 1)
    for length in (1.0, 0.5):
        labels = story.labels(round(story.seconds / length), length)
        for step in story.steps:
            middle = int((step.start + step.end) / 2 / length)
            assert labels[middle] == 1 + world.ACTIONS.index(step.composition.action)


def test_a_smaller_count_gives_a_prefix() -> None:
    assert world.stories(0, "test", 3) == world.stories(0, "test", 6)[:3]
    assert world.stories(1, "test", 3) != world.stories(0, "test", 3)
