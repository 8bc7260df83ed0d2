"""The SiamMask network: one backbone, and branches for score, box and mask (CVPR 2019).

The template is seen once a track: `template` turns its crop into correlation kernels, which the caller
keeps. Everything else runs once a search window. Masks are read only at the positions asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from model.network.backbone import ResNet18, ResNet50
from model.network.heads import CorrelationBranch
from model.network.refine import Refine, feature_windows

Backbone = Literal["resnet50", "resnet18"]
Variant = Literal["three", "two"]
TEMPLATE_SIZE = 127
SEARCH_SIZE = 255
NECK_CHANNELS = 256
BASE_MASK_SIZE = 63
ANCHORS_PER_CELL = 5
_PATCH = 7  # neck features a side that one response depends on: a 3x3 embedding of what a 5x5 kernel meets


@dataclass(frozen=True, slots=True)
class SiamMaskConfig:
    """What a network is made of. ``variant`` counts the branches: three (score, box, mask) or two (no box)."""

    backbone: Backbone = "resnet50"
    variant: Variant = "three"
    refine: bool = True

    def __post_init__(self) -> None:
        if self.backbone not in get_args(Backbone):
            raise ValueError(f"backbone {self.backbone!r}: expected one of {', '.join(get_args(Backbone))}")
        if self.variant not in get_args(Variant):
            raise ValueError(f"variant {self.variant!r}: expected one of {', '.join(get_args(Variant))}")
        if not isinstance(self.refine, bool):
            raise ValueError(f"refine {self.refine!r}: expected true or false")

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> SiamMaskConfig:
        """Read what `to_json` wrote; ValueError names an unknown or unusable field."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError(f"network configuration: expected a JSON object, got {text[:60]!r}")
        unknown = set(fields) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"network configuration has unknown fields: {', '.join(sorted(unknown))}")
        return cls(**fields)


class Template(NamedTuple):
    """Correlation kernels of B templates, each [B, 256, 5, 5]; ``box`` is None in the two-branch network."""

    score: Tensor
    box: Tensor | None
    mask: Tensor


class Features(NamedTuple):
    """Maps of B search windows: stem [B, 64, 125, 125], stage2 [B, C, 63, 63], stage3 [B, C, 31, 31] and
    neck [B, 256, 31, 31]."""

    stem: Tensor
    stage2: Tensor
    stage3: Tensor
    neck: Tensor


class Response(NamedTuple):
    """What B search windows answer, on the 25x25 grid of candidate windows.

    score: [B, 2k, 25, 25] logits, viewed [B, 2, k, 25, 25] with class 1 the object; [B, 1, 25, 25] with two
        branches.
    box: [B, 4k, 25, 25], viewed [B, 4, k, 25, 25]: dx, dy, dw, dh against the anchors; None with two branches.
    """

    score: Tensor
    box: Tensor | None


class SiamMask(nn.Module):
    """SiamMask with the parts that ``config`` names. Crops are float BGR in 0..255, not normalised."""

    def __init__(self, config: SiamMaskConfig | None = None) -> None:
        super().__init__()
        self.config = config or SiamMaskConfig()
        self.anchors_per_cell = ANCHORS_PER_CELL if self.config.variant == "three" else 0
        self.backbone: ResNet50 | ResNet18 = ResNet50() if self.config.backbone == "resnet50" else ResNet18()
        stem, stage2, stage3, stage4 = self.backbone.channels
        self.neck = nn.Sequential(nn.Conv2d(stage4, NECK_CHANNELS, 1, bias=False), nn.BatchNorm2d(NECK_CHANNELS))
        self.score = CorrelationBranch(NECK_CHANNELS, 2 * self.anchors_per_cell or 1)
        self.box = CorrelationBranch(NECK_CHANNELS, 4 * self.anchors_per_cell) if self.anchors_per_cell else None
        self.mask = CorrelationBranch(NECK_CHANNELS, BASE_MASK_SIZE**2)
        self.refine = Refine(stem, stage2, stage3) if self.config.refine else None
        self.int8_ranges: Mapping[str, float] = {}  # of the maps, by module (`model.network.calibration`)
        self.int8_lossless = False  # whether the weights' record says so

    def template_features(self, crop: Tensor) -> Tensor:
        """[B, 3, 127, 127] template crops -> [B, 256, 7, 7], the centre of their 15x15 features."""
        return self.neck(self.backbone(crop)[-1])[:, :, 4:-4, 4:-4]

    def template(self, crop: Tensor) -> Template:
        """[B, 3, 127, 127] template crops -> their correlation kernels."""
        features = self.template_features(crop)
        box = self.box.kernel(features) if self.box is not None else None
        return Template(self.score.kernel(features), box, self.mask.kernel(features))

    def features(self, search: Tensor) -> Features:
        """[B, 3, 255, 255] search windows -> their feature maps."""
        stem, stage2, stage3, stage4 = self.backbone(search)
        return Features(stem, stage2, stage3, self.neck(stage4))

    def respond(self, template: Template, features: Features) -> Response:
        """Score the candidate windows, and place their boxes, of B templates in B search windows."""
        score = self.score.head(self.score.correlate(template.score, features.neck))
        box = None
        if self.box is not None and template.box is not None:
            box = self.box.head(self.box.correlate(template.box, features.neck))
        return Response(score, box)

    def mask_response(self, template: Template, features: Features) -> Tensor:
        """[B, 256, 25, 25] response vectors of the mask branch at every candidate window, before its head."""
        return self.mask.correlate(template.mask, features.neck)

    def patches(self, features: Features, batch: Tensor, row: Tensor, col: Tensor) -> Tensor:
        """The neck features [P, 256, 7, 7] that the response at P positions depends on.

        Args:
            features: of B search windows.
            batch, row, col: [P] int64, sample and place in the response.
        """
        return neck_patches(features.neck, batch, row, col)

    def mask_vectors(self, patches: Tensor, kernels: Tensor) -> Tensor:
        """What `mask_response` has at P positions, of their patches and mask kernels [P, 256, 5, 5]: [P, 256]."""
        embedded = self.mask.conv_search(patches)
        return (embedded.float() * kernels.float()).sum((2, 3)).to(embedded.dtype)

    def mask63(self, vectors: Tensor) -> Tensor:
        """[P, 256] response vectors of the mask branch -> [P, 63, 63] logits of the base mask."""
        return self.mask.head(vectors[:, :, None, None]).reshape(-1, BASE_MASK_SIZE, BASE_MASK_SIZE)

    def mask63_in_training(self, response: Tensor, batch: Tensor, row: Tensor, col: Tensor) -> Tensor:
        """As `mask63`, of P positions of [B, 256, 25, 25] response vectors.

        The head's batch norm takes its statistics from every position, read or not.
        """
        vectors = vectors_at(self.mask.head[:3](response), batch, row, col)
        return self.mask.head[3](vectors[:, :, None, None]).reshape(-1, BASE_MASK_SIZE, BASE_MASK_SIZE)

    def refined(self, features: Features, vectors: Tensor, batch: Tensor, row: Tensor, col: Tensor) -> Tensor:
        """Read the refined mask at P positions.

        Args:
            features: of B search windows.
            vectors: [P, 256] response vectors of the mask branch at the positions.
            batch, row, col: [P] int64, sample and place in the response.

        Returns:
            [P, 127, 127] logits.

        Raises:
            RuntimeError: the network has no refinement.
        """
        if self.refine is None:
            raise RuntimeError("this network has no refinement: read mask63 instead")
        stem = feature_windows(features.stem, batch, row, col, size=61, step=4)
        stage2 = feature_windows(features.stage2, batch, row, col, size=31, step=2)
        stage3 = feature_windows(features.stage3, batch, row, col, size=15, step=1)
        return self.refine(vectors, stem, stage2, stage3)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def neck_patches(neck: Tensor, batch: Tensor, row: Tensor, col: Tensor) -> Tensor:
    """The 7x7 features [P, C, 7, 7], channels-last, that the response at P positions depends on, of [B, C, 31, 31]."""
    reach = torch.arange(_PATCH, device=row.device)
    rows, cols = (row[:, None] + reach)[:, :, None], (col[:, None] + reach)[:, None, :]
    return neck.permute(0, 2, 3, 1)[batch[:, None, None], rows, cols].permute(0, 3, 1, 2)


def vectors_at(response: Tensor, batch: Tensor, row: Tensor, col: Tensor) -> Tensor:
    """[B, C, H, W] maps at P positions (int64 [P] each) -> [P, C]."""
    return response.permute(0, 2, 3, 1)[batch, row, col]
