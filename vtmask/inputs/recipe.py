"""What a recipe says of its data: which data sets, which clips of them, which sizes follow."""

import jax
from ml_collections import ConfigDict

from vtmask.errors import UserError
from vtmask.inputs import clips
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import TrainingBatches
from vtmask.models import VLMSizes


def open_datasets(config: ConfigDict) -> list[Dataset]:
    """The data set that `config.data.name` names, or several, with commas between them."""
    data = config.data
    return [Dataset(name.strip(), data.split, data.dir or None) for name in data.name.split(",")]


def model_sizes(config: ConfigDict, dataset: Dataset) -> VLMSizes:
    """Sizes of the recipe's model, with those that features, tokenizer and classes determine."""
    tokenizer = dataset.tokenizer
    classifies = config.task.name == "segmentation"
    if classifies and not dataset.class_names:
        raise UserError(f"{dataset.path}/metadata.json: names no classes; segmentation needs them")
    return VLMSizes(
        **config.model,
        num_classes=len(dataset.class_names) if classifies else 0,
        vocab_size=tokenizer.vocab_size,
        feature_size=dataset.feature_size,
        pad_id=tokenizer.pad_id,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        mask_id=tokenizer.mask_id,
    )


def make_batches(config: ConfigDict, datasets: list[Dataset], sizes: VLMSizes) -> TrainingBatches:
    """This process's part of the recipe's batches."""
    for dataset in datasets[1:]:
        if sizes.num_classes and dataset.class_names != datasets[0].class_names:
            raise UserError(
                f"{dataset.path}: has other classes than {datasets[0].path}; a classifier is "
                "trained on data sets of the same"
            )
    sampler = config.sampler.to_dict()
    return TrainingBatches(
        datasets,
        clips.create(sampler.pop("name"), sizes, **sampler),
        config.batch_size,
        config.seed,
        weights=config.data.weights or (1.0,) * len(datasets),
        host=jax.process_index(),
        num_hosts=jax.process_count(),
    )
