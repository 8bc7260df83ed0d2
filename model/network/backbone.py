"""Backbones of SiamMask: ResNet to stage 4 at stride 8, the last stage dilated.

Both share one geometry, so anchors, windows and the tracker do not depend on the choice: a 7x7 stem
without padding, then stages at stride 4, 8 and 8. For a 255x255 search window the maps are 125, 63, 31 and
31 wide; for a 127x127 template 61, 31, 15 and 15.

Source: SiamMask (CVPR 2019), section 3 and table 8; He et al., "Deep residual learning" (CVPR 2016).
"""

from __future__ import annotations

from torch import Tensor, nn


class Bottleneck(nn.Module):
    """The ResNet-50 block: 1x1, 3x3, 1x1 with batch norm, expanding four times.

    A stride of 2 uses no padding (63 -> 31), so that a feature keeps its place under a shift of the input.
    """

    expansion = 4

    def __init__(self, channels_in: int, width: int, *, stride: int, dilation: int, project: bool) -> None:
        super().__init__()
        channels_out = width * self.expansion
        padding = 0 if stride == 2 else dilation
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if project:
            # Stage 2 projects with 1x1; the later stages with 3x3, padded as the block's own 3x3.
            kernel = 1 if stride == 1 and channels_in == width else 3
            pad = 0 if kernel == 1 or stride == 2 else dilation
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, kernel, stride, pad, dilation, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)


class BasicBlock(nn.Module):
    """The ResNet-18 block, two 3x3 convolutions with batch norm folded into weight and bias.

    ``dilation`` is that of the second convolution; ``entry_dilation`` that of the first, which in a stage's
    first block follows the stage before. A stride of 2 uses no padding, and the 1x1 projection then takes
    the centres that the unpadded 3x3 looks at.
    """

    def __init__(self, channels_in: int, width: int, *, stride: int, entry_dilation: int, dilation: int) -> None:
        super().__init__()
        padding = 0 if stride == 2 else entry_dilation
        self.stride = stride
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, padding, entry_dilation)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(nn.Conv2d(channels_in, width, 1, stride)) if channels_in != width else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.downsample is not None:
            shortcut = self.downsample(x[:, :, 1:-1, 1:-1] if self.stride == 2 else x)
        x = self.relu(self.conv1(x))
        return self.relu(self.conv2(x) + shortcut)


class ResNet50(nn.Module):
    """ResNet-50 to stage 4: maps of 64, 256, 512 and 1024 channels."""

    channels = (64, 256, 512, 1024)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 0, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _bottlenecks(64, 64, blocks=3, stride=1, dilation=1)
        self.layer2 = _bottlenecks(256, 128, blocks=4, stride=2, dilation=1)
        self.layer3 = _bottlenecks(512, 256, blocks=6, stride=1, dilation=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map [B, 3, S, S] (BGR, 0..255) to stem, stage 2, stage 3 and stage 4."""
        stem = self.relu(self.bn1(self.conv1(x)))
        stage2 = self.layer1(self.maxpool(stem))
        stage3 = self.layer2(stage2)
        return stem, stage2, stage3, self.layer3(stage3)


class ResNet18(nn.Module):
    """ResNet-18 to stage 4: maps of 64, 64, 128 and 256 channels, batch norm folded away."""

    channels = (64, 64, 128, 256)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 0)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _basic_blocks(64, 64, stride=1, dilation=1)
        self.layer2 = _basic_blocks(64, 128, stride=2, dilation=1)
        self.layer3 = _basic_blocks(128, 256, stride=1, dilation=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map [B, 3, S, S] (BGR, 0..255) to stem, stage 2, stage 3 and stage 4."""
        stem = self.relu(self.conv1(x))
        stage2 = self.layer1(self.maxpool(stem))
        stage3 = self.layer2(stage2)
        return stem, stage2, stage3, self.layer3(stage3)


def _bottlenecks(channels_in: int, width: int, *, blocks: int, stride: int, dilation: int) -> nn.Sequential:
    # The first block of the dilated stage looks with dilation 1, as the stage before it.
    first = Bottleneck(channels_in, width, stride=stride, dilation=max(1, dilation // 2), project=True)
    rest = [Bottleneck(width * 4, width, stride=1, dilation=dilation, project=False) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def _basic_blocks(channels_in: int, width: int, *, stride: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(channels_in, width, stride=stride, entry_dilation=1, dilation=dilation),
        BasicBlock(width, width, stride=1, entry_dilation=dilation, dilation=dilation),
    )
