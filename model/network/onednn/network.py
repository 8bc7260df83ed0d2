"""The whole network on a CPU: what `SiamMask` computes, rearranged for oneDNN, for inference alone."""

from __future__ import annotations

from torch import Tensor, nn

from model.network.fused import fuse_sequence
from model.network.onednn.backbone import fuse_backbone
from model.network.onednn.candidates import FusedBranch
from model.network.onednn.convs import FusedConv, available
from model.network.onednn.refine import FusedRefine, cut_windows
from model.network.siammask import Features, Response, SiamMask, Template


class FusedSiamMask(nn.Module):
    """A network for inference on a CPU, made by `fuse`; the methods are those of `SiamMask`."""

    def __init__(self, network: SiamMask) -> None:
        super().__init__()
        self.config = network.config
        branches = [branch for branch in (network.score, network.box, network.mask) if branch is not None]
        fuse_backbone(network.backbone)
        self.score = FusedBranch(network.score)
        self.box = None if network.box is None else FusedBranch(network.box)
        self._refine = None if network.refine is None else FusedRefine(network.refine)
        for sequence in (network.neck, *(branch.conv_kernel for branch in branches)):
            fuse_sequence(sequence, FusedConv)
        fuse_sequence(network.mask.conv_search, FusedConv)
        fuse_sequence(network.mask.head, FusedConv)
        self._network = network

    def template(self, crop: Tensor) -> Template:
        return self._network.template(crop)

    def features(self, search: Tensor) -> Features:
        return self._network.features(search)

    def respond(self, template: Template, features: Features) -> Response:
        box = None
        if self.box is not None and template.box is not None:
            box = self.box(template.box, features.neck)
        return Response(self.score(template.score, features.neck), box)

    def patches(self, features: Features, batch: Tensor, row: Tensor, col: Tensor) -> Tensor:
        return self._network.patches(features, batch, row, col)

    def mask_vectors(self, patches: Tensor, kernels: Tensor) -> Tensor:
        return self._network.mask_vectors(patches, kernels)

    def mask63(self, vectors: Tensor) -> Tensor:
        return self._network.mask63(vectors)

    def refined(self, features: Features, vectors: Tensor, batch: Tensor, row: Tensor, col: Tensor) -> Tensor:
        stem = cut_windows(features.stem, batch, row, col, size=61, step=4)
        stage2 = cut_windows(features.stage2, batch, row, col, size=31, step=2)
        stage3 = cut_windows(features.stage3, batch, row, col, size=15, step=1)
        return self.refined_windows(vectors, stem, stage2, stage3)

    def refined_windows(self, vectors: Tensor, stem: Tensor, stage2: Tensor, stage3: Tensor) -> Tensor:
        """As `refined`, of the windows of the maps at the positions: [P, C, 61, 61], [P, C, 31, 31], [P, C, 15, 15]."""
        if self._refine is None:
            raise RuntimeError("this network has no refinement: read mask63 instead")
        return self._refine(vectors, stem, stage2, stage3)


def fuse(network: SiamMask) -> SiamMask | FusedSiamMask:
    """Rearrange a network whose batch norm is folded and which is on the CPU; its parts are used up.

    The network itself where torch lacks the operators, or oneDNN does not compute in its precision here.
    """
    return FusedSiamMask(network) if available(next(network.parameters()).dtype) else network
