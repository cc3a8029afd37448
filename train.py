"""Pre-trains or fine-tunes a model.

    python train.py --config=configs/demo.py --workdir=runs/pretrain
    python train.py --config=configs/demo.py --config.optim.lr=1e-4 --workdir=runs/lower_lr

A workdir that holds a checkpoint of the same config is resumed. The finished model is exported to
WORKDIR/export.
"""

import dataclasses
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from vtmask import cli, export, models, tasks
from vtmask.errors import UserError
from vtmask.export import Model
from vtmask.inputs import recipe
from vtmask.inputs.dataset import Dataset
from vtmask.models import VLMSizes
from vtmask.training import Params, initial_params, train

# Sizes that a fine-tuning recipe may choose: no parameter it starts from depends on them.
FREE_SIZES = {"max_len", "dropout_rate", "initializer_range", "dtype", "num_classes"}


def main(config: ConfigDict, workdir: Path) -> None:
    """Trains as the recipe says and exports to `workdir`/export."""
    datasets = recipe.open_datasets(config)
    dataset = datasets[0]
    sizes = recipe.model_sizes(config, dataset)
    batches = recipe.make_batches(config, datasets, sizes)
    model = models.create(sizes)
    class_names = dataset.class_names if sizes.num_classes else ()
    params: Params = {}
    if config.init_from:
        params = params_to_start_from(config.init_from, sizes, dataset, class_names)
    if not params or (class_names and "classifier" not in params):
        params = initial_params(model, config.seed) | params
    params = train(config, workdir, model, tasks.create(config.task), batches, params)
    export.save(
        workdir / "export",
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
    print(f"Exported to {workdir / 'export'}")


def params_to_start_from(
    folder: str, sizes: VLMSizes, dataset: Dataset, class_names: tuple[str, ...]
) -> Params:
    """Parameters of an exported model, which must fit the recipe and the data.

    Its classifier is left out unless it is of the same classes.
    """
    start = export.load(folder)
    start.require_same_inputs(dataset)
    theirs, ours = dataclasses.asdict(start.module.sizes), dataclasses.asdict(sizes)
    for name in ours.keys() - FREE_SIZES:
        if theirs[name] != ours[name]:
            raise UserError(
                f"{folder}/model.json: {name} is {theirs[name]}, the config says {ours[name]}; "
                f"set --config.model.{name}={theirs[name]}"
            )
    if start.class_names == class_names:
        return start.params
    return {name: value for name, value in start.params.items() if name != "classifier"}


if __name__ == "__main__":
    # Not above: a program that imports this file has a --config of its own.
    CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe: configs/demo.py, …")
    WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
    flags.mark_flag_as_required("config")
    cli.run(lambda: main(CONFIG.value, Path(WORKDIR.value)))
