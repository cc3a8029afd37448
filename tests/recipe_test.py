"""The sizes of a model follow from its data, and data sets of a mixture must agree."""

from pathlib import Path

import numpy as np
import pytest
import synthetic

from vtmask import recipe, tasks
from vtmask.errors import UserError
from vtmask.inputs.dataset import Dataset


@pytest.fixture
def dataset(demo_dir: Path) -> Dataset:
    return Dataset("demo/tiny", "train", str(demo_dir))


def test_only_segmentation_gets_a_classifier(dataset: Dataset) -> None:
    model_config = recipe.make_model(synthetic.recipe("demo_segmentation"), dataset).config
    assert model_config.num_classes == len(dataset.class_names) == 9
    assert (
        model_config.vocab_size == dataset.tokenizer.vocab_size and model_config.feature_size == 512
    )
    assert recipe.make_model(synthetic.recipe("demo_localization"), dataset).config.num_classes == 0
    dataset.class_names = ()
    with pytest.raises(UserError, match="tiny/2.0.0/metadata.json: names no classes; segmentation"):
        recipe.make_model(synthetic.recipe("demo_segmentation"), dataset)


def test_data_sets_of_a_classifier_need_the_same_classes(dataset: Dataset, demo_dir: Path) -> None:
    other = Dataset("demo/tiny", "test", str(demo_dir))
    config = synthetic.recipe("demo_segmentation")
    model_config = recipe.make_model(config, dataset).config
    recipe.make_batches(config, [dataset, other], model_config)
    other.class_names = (*other.class_names[:-1], "jump")
    with pytest.raises(UserError, match="tiny/2.0.0: its classes differ from those of .*; a"):
        recipe.make_batches(config, [dataset, other], model_config)
    retrieval = synthetic.recipe("demo_retrieval")
    recipe.make_batches(retrieval, [dataset, other], recipe.make_model(retrieval, dataset).config)


def test_batches_of_a_recipe_for_many_devices_need_none_of_them(dataset: Dataset) -> None:
    config = synthetic.recipe("demo", sharding__model=64)
    model_config = recipe.make_model(config, dataset).config
    full = next(recipe.make_batches(config, [dataset], model_config).from_step(0))
    part = recipe.make_batches(config, [dataset], model_config, part=1, num_parts=2)
    half = next(part.from_step(0))
    for name, values in full.items():
        np.testing.assert_array_equal(half[name], values[config.batch_size // 2 :])


def test_validation_needs_its_split(dataset: Dataset, demo_dir: Path) -> None:
    config = synthetic.recipe("demo", data__dir=str(demo_dir), eval_split="val")
    model = recipe.make_model(config, dataset)
    with pytest.raises(UserError, match=r"^config.eval_split: .* no split 'val'.*eval_every=0"):
        recipe.make_validation(config, model, tasks.create(config.task), dataset)
    config.eval_every = 0
    assert recipe.make_validation(config, model, tasks.create(config.task), dataset) is None
