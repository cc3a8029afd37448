"""What a recipe says of its data: which data sets, which clips of them, which sizes follow."""

from typing import Any

from ml_collections import ConfigDict

from vtmask import disk, tasks
from vtmask.errors import UserError, check_choice
from vtmask.inputs import samplers
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import TrainingBatches
from vtmask.models import CONFIGS, AnyModel, VLMConfig
from vtmask.tasks.retrieval import Retrieval
from vtmask.training.retrieval_augmented import RetrievalAugmented

_OF_VLM = ("pretrain", "captioning", "segmentation")


def open_datasets(config: ConfigDict) -> list[Dataset]:
    """The data set that `config.data.name` names, or several, with commas between them."""
    data = config.data
    return [Dataset(name.strip(), data.split, data.dir or None) for name in data.name.split(",")]


def model_config(config: ConfigDict, dataset: Dataset) -> VLMConfig:
    """Sizes of the recipe's model, with those that features, tokenizer and classes determine."""
    settings = config.model.to_dict()
    name = settings.pop("name")
    check_choice("config.model.name", name, CONFIGS)
    if name == "videoclip" and config.task.name in _OF_VLM:
        raise tasks.needs_vlm(config.task.name)
    tokenizer = dataset.tokenizer
    classifies = config.task.name == "segmentation"
    if classifies and not dataset.class_names:
        raise UserError(f"{dataset.path}/metadata.json: names no classes; segmentation needs them")
    return CONFIGS[name](
        **settings,
        num_classes=len(dataset.class_names) if classifies else 0,
        vocab_size=tokenizer.vocab_size,
        feature_size=dataset.feature_size,
        pad_id=tokenizer.pad_id,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        mask_id=tokenizer.mask_id,
    )


def make_batches(
    config: ConfigDict,
    datasets: list[Dataset],
    model_config: VLMConfig,
    part: int = 0,
    parts: int = 1,
) -> TrainingBatches:
    """The recipe's batches, or a part of each; see `vtmask.training.sharding.part_of_batch`."""
    for dataset in datasets[1:]:
        if model_config.num_classes and dataset.class_names != datasets[0].class_names:
            raise UserError(
                f"{dataset.path}: has other classes than {datasets[0].path}; a classifier is "
                "trained on data sets of the same"
            )
    sampler = config.sampler.to_dict()
    return TrainingBatches(
        datasets,
        samplers.create(sampler.pop("name"), model_config, **sampler),
        config.batch_size,
        config.seed,
        weights=config.data.weights or (1.0,) * len(datasets),
        host=part,
        num_hosts=parts,
    )


def is_retrieval_augmented(config: ConfigDict) -> bool:
    settings = config.get("retrieval_augmented")
    return settings is not None and settings.enabled


def retrieval_augmented(
    config: ConfigDict, batches: TrainingBatches, model: AnyModel, task: Any, workdir: disk.AnyPath
) -> TrainingBatches | RetrievalAugmented:
    """The batches as they are, or retrieval-augmented where the recipe says so."""
    if not is_retrieval_augmented(config):
        return batches
    if not isinstance(task, Retrieval):
        raise UserError(
            f"config.retrieval_augmented.enabled is True, but config.task.name is "
            f"{config.task.name}, expected retrieval"
        )
    if not isinstance(batches.sampler, samplers.CaptionWindows):
        raise UserError(
            f"config.retrieval_augmented.enabled is True, but config.sampler.name is "
            f"{config.sampler.name}, expected overlapped_clips or caption_windows"
        )
    settings = config.retrieval_augmented
    return RetrievalAugmented(
        batches, model, task, workdir, settings.clips_per_video, settings.index
    )
