"""Pre-trains or fine-tunes a model.

    python train.py --config=configs/demo.py --workdir=runs/pretrain
    python train.py --config=configs/demo.py --config.optim.lr=1e-4 --workdir=runs/lower_lr

If the workdir has a checkpoint of the same config, training resumes from it. The final model is
exported to WORKDIR/export.
"""

from absl import flags
from ml_collections import ConfigDict, config_flags

from vtmask import checks, disk, export, program, recipe, tasks
from vtmask.export import Model
from vtmask.training import distributed, sharding, train
from vtmask.training.warm_start import start_params


def main(config: ConfigDict, workdir: disk.AnyPath) -> None:
    """Trains a recipe's model and exports it to `workdir`/export."""
    checks.check(config)
    folder = disk.resolve(workdir)
    datasets = recipe.open_datasets(config)
    dataset = datasets[0]
    model = recipe.make_model(config, dataset)
    task = tasks.create(config.task)
    part, num_parts = sharding.part_of_batch(config.sharding.model)
    batches = recipe.make_batches(config, datasets, model.config, part, num_parts)
    recipe.resolve_num_steps(config, batches)
    class_names = recipe.class_names(config, dataset)
    params = start_params(model, config.seed, config.init_from, dataset, class_names)
    augmented = recipe.retrieval_augmented(config, batches, model, task, folder)
    validation = recipe.make_validation(config, model, task, dataset)
    params = train(config, folder, model, task, augmented, params, validation)
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


if __name__ == "__main__":
    # Defined here, as a program that imports this file may have its own --config.
    CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe: configs/demo.py, …")
    WORKDIR = flags.DEFINE_string(
        "workdir", None, "Folder of the run, or gs://BUCKET/…", required=True
    )
    flags.mark_flag_as_required("config")

    def run() -> None:
        with distributed.start():
            main(CONFIG.value, WORKDIR.value)

    program.run(run)
