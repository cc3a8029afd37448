"""What a recipe says of its data: which data sets, which clips of them, which sizes follow."""

import jax
from ml_collections import ConfigDict

from vtmask.inputs import clips
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import TrainingBatches
from vtmask.models import VLMSizes


def open_datasets(config: ConfigDict) -> list[Dataset]:
    """The data set that `config.data.name` names, or several, with commas between them."""
    data = config.data
    return [Dataset(name.strip(), data.split, data.dir or None) for name in data.name.split(",")]


def model_sizes(config: ConfigDict, dataset: Dataset) -> VLMSizes:
    """Sizes of the recipe's model, with those that features and tokenizer determine."""
    tokenizer = dataset.tokenizer
    return VLMSizes(
        **config.model,
        vocab_size=tokenizer.vocab_size,
        feature_size=dataset.feature_size,
        pad_id=tokenizer.pad_id,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        mask_id=tokenizer.mask_id,
    )


def make_batches(config: ConfigDict, datasets: list[Dataset], sizes: VLMSizes) -> TrainingBatches:
    """This process's part of the recipe's batches."""
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
