from pathlib import Path

import golden
import numpy as np
import pytest

from vtmask import convert
from vtmask.errors import UserError


@pytest.fixture(scope="module")
def weights(golden_dir: Path) -> dict[str, np.ndarray]:
    return golden.s3d_weights(np.load(golden_dir / "s3d.npz"))


def test_missing_unknown_and_misshapen_parameters_of_s3d_are_named(
    weights: dict[str, np.ndarray],
) -> None:
    del weights["mixed_4d.conv_b1_b.bn2.running_var"]
    weights["mixed_9z.fc.weight"] = np.zeros((2, 2), np.float32)
    weights["fc.weight"] = weights["fc.weight"][:, :100]
    with pytest.raises(UserError) as error:
        convert.s3d_from_published(weights)
    assert "video/mixed_4d/conv_b1_b/conv2/var is missing" in str(error.value)
    assert "video/mixed_9z/fc/kernel is unknown" in str(error.value)
    assert "video/fc/kernel is (100, 512), expected (1024, 512)" in str(error.value)


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(UserError, match="do not fit the model: .* and [0-9]+ more"):
        convert.s3d_from_published({"layer.weight": np.zeros((3, 3), np.float32)})
