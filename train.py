"""Pre-trains or fine-tunes a model.

    python train.py --config=configs/demo.py --workdir=runs/pretrain
    python train.py --config=configs/demo.py --config.optim.lr=1e-4 --workdir=runs/lower_lr

A workdir that holds a checkpoint of the same config is resumed. The finished model is exported to
WORKDIR/export.
"""

import dataclasses
import functools

import jax
from absl import flags
from flax import traverse_util
from ml_collections import ConfigDict, config_flags

from vtmask import disk, export, models, program, recipe, tasks
from vtmask.errors import UserError
from vtmask.export import BertModel, Model, S3DModel
from vtmask.inputs.dataset import Dataset
from vtmask.models import AnyModel, VideoCLIPConfig, VLMConfig
from vtmask.training import Params, distributed, initial_params, sharding, train

# Sizes that a fine-tuning recipe may choose: no parameter it starts from depends on them.
FREE_FIELDS = {
    "max_len",
    "dropout_rate",
    "initializer_range",
    "num_classes",
    "dtype",
    "fused_attention",
    "scan_layers",
    "remat",
}


def main(config: ConfigDict, workdir: disk.AnyPath) -> None:
    """Trains as the recipe says and exports to `workdir`/export."""
    folder = disk.resolve(workdir)
    datasets = recipe.open_datasets(config)
    dataset = datasets[0]
    model_config = recipe.model_config(config, dataset)
    part, parts = sharding.part_of_batch(config.sharding.model)
    batches = recipe.make_batches(config, datasets, model_config, part, parts)
    model = models.create(model_config)
    class_names = dataset.class_names if model_config.num_classes else ()
    params: Params = {}
    if config.init_from:
        params = params_to_start_from(config.init_from, model_config, dataset, class_names)
    params = jax.device_get(completed(params, model, config.seed))
    task = tasks.create(config.task)
    augmented = recipe.retrieval_augmented(config, batches, model, task, folder)
    params = train(config, folder, model, task, augmented, params)
    if distributed.is_first():
        export.save(
            folder / "export",
            Model(
                model,
                params,
                dataset.tokenizer,
                dataset.feature_extractor,
                dataset.seconds_per_feature,
                config.to_dict(),
                class_names,
            ),
        )
        print(f"Exported to {folder / 'export'}")


def params_to_start_from(
    folder: str, model_config: VLMConfig, dataset: Dataset, class_names: tuple[str, ...]
) -> Params:
    """Parameters of an exported model, which must fit the recipe and the data.

    Its classifier is left out unless it is of the same classes. A BERT is all of a VLM but its
    video MLP; for a VideoCLIP it is the text encoder, and with its first layers the video encoder,
    as published.
    """
    start = export.load_any(folder)
    if isinstance(start, S3DModel):
        raise UserError(f"{folder}/model.json: is an S3D, expected a BERT, VLM or VideoCLIP")
    start.require_same_inputs(dataset)
    if isinstance(start, Model) and type(start.module.config) is not type(model_config):
        theirs, ours = type(start.module).__name__, type(models.create(model_config)).__name__
        raise UserError(
            f"{folder}/model.json: is a {theirs}, the config's model is a {ours}; start from a "
            f"{ours} or from a BERT"
        )
    there, here = dataclasses.asdict(start.module.config), dataclasses.asdict(model_config)
    for name in (there.keys() & here.keys()) - FREE_FIELDS:
        if there[name] != here[name]:
            raise UserError(
                f"{folder}/model.json: {name} is {there[name]}, the config says {here[name]}; "
                f"set --config.model.{name}={there[name]}"
            )
    if isinstance(start, BertModel) and isinstance(model_config, VideoCLIPConfig):
        return videoclip_from_bert(folder, start.params, model_config)
    if isinstance(start, BertModel) or start.class_names == class_names:
        return start.params
    return {name: value for name, value in start.params.items() if name != "classifier"}


def videoclip_from_bert(folder: str, bert: Params, model_config: VideoCLIPConfig) -> Params:
    """Both encoders; the video MLP is missing."""
    if model_config.num_video_layers > model_config.num_layers:
        raise UserError(
            f"{folder}/model.json: has {model_config.num_layers} layers, too few for "
            f"config.model.num_video_layers {model_config.num_video_layers}"
        )
    text = {name: value for name, value in bert.items() if name not in ("head", "decoder_bias")}
    layers = {
        f"layer_{i}": text["encoder"][f"layer_{i}"] for i in range(model_config.num_video_layers)
    }
    return {"text": text, "video": text | {"encoder": layers}}


def completed(params: Params, model: AnyModel, seed: int) -> Params:
    """The parameters, with fresh ones for those that the model has besides."""
    found = traverse_util.flatten_dict(params)
    expected = jax.eval_shape(functools.partial(initial_params, model), seed)
    if traverse_util.flatten_dict(expected).keys() <= found.keys():
        return params
    fresh = traverse_util.flatten_dict(initial_params(model, seed))
    return traverse_util.unflatten_dict(fresh | found)


if __name__ == "__main__":
    # Not above: a program that imports this file has a --config of its own.
    CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe: configs/demo.py, …")
    WORKDIR = flags.DEFINE_string(
        "workdir", None, "Folder of the run, or gs://BUCKET/…", required=True
    )
    flags.mark_flag_as_required("config")

    def run() -> None:
        with distributed.start():
            main(CONFIG.value, WORKDIR.value)

    program.run(run)
