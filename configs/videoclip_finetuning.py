r"""VideoCLIP fine-tuned on the task of another recipe.

    python train.py --config=configs/videoclip_finetuning.py:RECIPE \
        --config.init_from=VIDEOCLIP/export --workdir=…

RECIPE is any recipe of configs/zeroshot.py except those for segmentation. `evaluate.py` takes the
same --config.
"""

from ml_collections import ConfigDict

from configs import demo_videoclip, videoclip, zeroshot
from vtmask.errors import check_choice

RECIPES = tuple(name for name in zeroshot.RECIPES if name not in ("coin", "demo_segmentation"))


def get_config(recipe: str = "msrvtt") -> ConfigDict:
    check_choice("--config=configs/videoclip_finetuning.py:RECIPE", recipe, RECIPES)
    config = zeroshot.get_config(recipe)
    pretraining = demo_videoclip if recipe.startswith("demo_") else videoclip
    model = pretraining.get_config().model
    config.model.name, config.model.num_video_layers = model.name, model.num_video_layers
    return config
