"""S3D in layers of PyTorch, to measure against; its parameters have the published names."""

from typing import Any

import torch
from torch import Tensor, nn

MIXED = {
    "mixed_3b": (64, 96, 128, 16, 32, 32),
    "mixed_3c": (128, 128, 192, 32, 96, 64),
    "mixed_4b": (192, 96, 208, 16, 48, 64),
    "mixed_4c": (160, 112, 224, 24, 64, 64),
    "mixed_4d": (128, 128, 256, 24, 64, 64),
    "mixed_4e": (112, 144, 288, 32, 64, 64),
    "mixed_4f": (256, 160, 320, 32, 128, 128),
    "mixed_5b": (256, 160, 320, 32, 128, 128),
    "mixed_5c": (384, 192, 384, 48, 128, 128),
}
POOLS = {"mixed_4b": (3, 3, 3), "mixed_5b": (2, 2, 2)}


class Conv(nn.Sequential):
    """Convolutions, each with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, *kernels: Any, padding: Any = None):
        super().__init__()
        for i, kernel in enumerate(kernels, 1):
            same = tuple(k // 2 for k in kernel) if padding is None else padding
            conv = nn.Conv3d(inputs, outputs, kernel, padding=same, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm3d(outputs))
            self.add_module(f"relu{i}", nn.ReLU(inplace=True))
            inputs = outputs


def separable(inputs: int, outputs: int) -> Conv:
    return Conv(inputs, outputs, (1, 3, 3), (3, 1, 1))


def pointwise(inputs: int, outputs: int) -> Conv:
    return Conv(inputs, outputs, (1, 1, 1))


class Gating(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc(x.mean((2, 3, 4))))[..., None, None, None]


class Mixed(nn.Module):
    def __init__(self, inputs: int, widths: tuple[int, ...]):
        super().__init__()
        b0, b1_a, b1_b, b2_a, b2_b, b3_b = widths
        self.conv_b0 = pointwise(inputs, b0)
        self.conv_b1_a, self.conv_b1_b = pointwise(inputs, b1_a), separable(b1_a, b1_b)
        self.conv_b2_a, self.conv_b2_b = pointwise(inputs, b2_a), separable(b2_a, b2_b)
        self.pool, self.conv_b3_b = nn.MaxPool3d(3, 1, 1), pointwise(inputs, b3_b)
        for i, width in enumerate((b0, b1_b, b2_b, b3_b)):
            self.add_module(f"gating_b{i}", Gating(width))

    def forward(self, x: Tensor) -> Tensor:
        branches = (
            self.conv_b0(x),
            self.conv_b1_b(self.conv_b1_a(x)),
            self.conv_b2_b(self.conv_b2_a(x)),
            self.conv_b3_b(self.pool(x)),
        )
        gated = [getattr(self, f"gating_b{i}")(branch) for i, branch in enumerate(branches)]
        return torch.cat(gated, 1)


class Pool(nn.Module):
    """Max pooling, padded with zeros at the end, as its input is not negative."""

    def __init__(self, window: tuple[int, ...], stride: tuple[int, ...]):
        super().__init__()
        self.pad = [n for k, s in zip(window[::-1], stride[::-1], strict=True) for n in (0, k - s)]
        self.pool = nn.MaxPool3d(window, stride, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(nn.functional.pad(x, self.pad))


class Text(nn.Module):
    """The text tower's parameters; it is not measured."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embd = nn.Embedding(10, 300)
        self.fc1, self.fc2 = nn.Linear(300, 2048), nn.Linear(2048, 512)


class S3D(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Conv(24, 64, (2, 4, 4), padding=(1, 2, 2))
        self.pool1 = Pool((1, 3, 3), (1, 2, 2))
        self.conv_2b, self.conv_2c = pointwise(64, 64), separable(64, 192)
        self.gating, self.pool2 = Gating(192), Pool((1, 3, 3), (1, 2, 2))
        width = 192
        for name, widths in MIXED.items():
            if name in POOLS:
                self.add_module(f"pool_{name}", Pool(POOLS[name], (2, 2, 2)))
            self.add_module(name, Mixed(width, widths))
            width = widths[0] + widths[2] + widths[4] + widths[5]
        self.fc = nn.Linear(width, 512)
        self.text_module = Text()

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, H, W, 3] to [B, 512]."""
        x = frames.permute(0, 4, 1, 2, 3).to(self.fc.weight.dtype) / 255
        b, c, t, h, w = x.shape
        x = x.reshape(b, c, t // 2, 2, h // 2, 2, w // 2, 2).permute(0, 3, 5, 7, 1, 2, 4, 6)
        x = x.reshape(b, 8 * c, t // 2, h // 2, w // 2)
        if self.conv1.conv1.weight.is_contiguous(memory_format=torch.channels_last_3d):
            x = x.contiguous(memory_format=torch.channels_last_3d)
        x = self.pool1(self.conv1(x)[:, :, 1:, 1:, 1:])
        x = self.pool2(self.gating(self.conv_2c(self.conv_2b(x))))
        for name in MIXED:
            if name in POOLS:
                x = getattr(self, f"pool_{name}")(x)
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3, 4)))
