"""Makes data sets, model and batches from a recipe's config; no other module knows them all."""

from ml_collections import ConfigDict

from vtmask import disk, models, tasks
from vtmask.errors import UserError, check_choice
from vtmask.evaluation.validation import PretrainingValidation, TaskValidation
from vtmask.export import Model
from vtmask.inputs import samplers
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import TrainingBatches
from vtmask.models import AnyModel, VLMConfig
from vtmask.tasks.base import Task
from vtmask.tasks.retrieval import Retrieval
from vtmask.training.loop import Validation
from vtmask.training.retrieval_augmented import RetrievalAugmented


def open_datasets(config: ConfigDict) -> list[Dataset]:
    """Opens the data sets that `config.data.name` names, separated by commas."""
    data = config.data
    return [Dataset(name.strip(), data.split, data.dir or None) for name in data.name.split(",")]


def make_model(config: ConfigDict, dataset: Dataset) -> AnyModel:
    """Makes the recipe's model; the data set's features, tokenizer and classes set some sizes.

    Raises:
      UserError: there is no such model, its configuration is wrong, or it cannot do the task.
    """
    values = config.model.to_dict()
    name = values.pop("name")
    check_choice("config.model.name", name, models.CONFIGS)
    tasks.require_model_for(config.task.name, models.CONFIGS[name])
    tokenizer = dataset.tokenizer
    return models.create(
        models.CONFIGS[name](
            **values,
            num_classes=len(class_names(config, dataset)),
            vocab_size=tokenizer.vocab_size,
            feature_size=dataset.feature_size,
            pad_id=tokenizer.pad_id,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            mask_id=tokenizer.mask_id,
        )
    )


def class_names(config: ConfigDict, dataset: Dataset) -> tuple[str, ...]:
    """Returns the names of the task's classes; () if the task has no classifier.

    Raises:
      UserError: the data set has no classes, though the task needs them.
    """
    if config.task.name != "segmentation":
        return ()
    if not dataset.class_names:
        raise UserError(f"{dataset.path}/metadata.json: names no classes; segmentation needs them")
    return dataset.class_names


def make_batches(
    config: ConfigDict,
    datasets: list[Dataset],
    model_config: VLMConfig,
    part: int = 0,
    num_parts: int = 1,
) -> TrainingBatches:
    """Makes the recipe's batches, or a part of each; see `vtmask.training.sharding.part_of_batch`.

    Raises:
      UserError: the data sets have different classes, or a setting of the sampler or the batches is
        wrong.
    """
    for dataset in datasets[1:]:
        if model_config.num_classes and dataset.class_names != datasets[0].class_names:
            raise UserError(
                f"{dataset.path}: its classes differ from those of {datasets[0].path}; a "
                "classifier needs the same classes in all data sets"
            )
    sampler = config.sampler.to_dict()
    return TrainingBatches(
        datasets,
        samplers.create(sampler.pop("name"), model_config, **sampler),
        config.batch_size,
        config.seed,
        weights=config.data.weights or (1.0,) * len(datasets),
        host=part,
        num_hosts=num_parts,
    )


def make_validation(
    config: ConfigDict, model: AnyModel, task: Task, trained_on: Dataset
) -> Validation | None:
    """Makes the validation on `config.eval_split`; None if `config.eval_every` is 0.

    A recipe with `config.eval` is validated by its task's evaluation, any other by
    `PretrainingValidation`.
    """
    if not config.eval_every:
        return None
    try:
        dataset = Dataset(trained_on.name, config.eval_split, config.data.dir or None)
    except UserError as error:
        raise UserError(
            f"config.eval_split: {error}; name another split, or turn validation off: "
            "--config.eval_every=0"
        ) from error
    dataset.require_same_inputs(trained_on)
    if "eval" in config:
        exported = Model(
            model,
            params=None,
            tokenizer=dataset.tokenizer,
            feature_extractor=dataset.feature_extractor,
            seconds_per_feature=dataset.seconds_per_feature,
            config=config.to_dict(),
            class_names=class_names(config, trained_on),
        )
        return TaskValidation(exported, config.task.name, task, dataset, config.eval)
    single = ConfigDict(config.to_dict())
    single.data.weights = ()
    batches = make_batches(single, [dataset], model.config)
    return PretrainingValidation(model, task, batches, config.seed)


def resolve_num_steps(config: ConfigDict, batches: TrainingBatches) -> None:
    """Sets `config.num_steps`, if it is None, to the steps of `config.num_epochs`.

    `TrainingBatches.epoch_size` defines an epoch. Afterwards, `num_epochs` is None.
    """
    if config.num_steps is None:
        config.num_steps = max(int(config.num_epochs * batches.epoch_size) // config.batch_size, 1)
    if "num_epochs" in config:
        config.num_epochs = None


def is_retrieval_augmented(config: ConfigDict) -> bool:
    settings = config.get("retrieval_augmented")
    return settings is not None and settings.enabled


def retrieval_augmented(
    config: ConfigDict,
    batches: TrainingBatches,
    model: AnyModel,
    task: Task,
    workdir: disk.AnyPath,
) -> TrainingBatches | RetrievalAugmented:
    """Returns retrieval-augmented batches if the recipe enables them, otherwise `batches`.

    Raises:
      UserError: the recipe's task, sampler or settings don't fit retrieval-augmented batches.
    """
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
