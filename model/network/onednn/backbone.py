"""A ResNet whose blocks add their shortcut inside their last convolution."""

from __future__ import annotations

from model.network.backbone import ResNet18, ResNet50
from model.network.fused import fuse_blocks
from model.network.onednn.convs import FusedConv
from model.network.onednn.pooling import StemMaxPool


def fuse_backbone(backbone: ResNet18 | ResNet50) -> None:
    """Replace, in place, stem, pooling and blocks."""
    fuse_blocks(backbone, FusedConv)
    backbone.maxpool = StemMaxPool()  # type: ignore[assignment]
