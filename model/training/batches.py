"""Batches of pairs with their labels, made in worker processes; batch number i depends on the seed and i alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.anchors import anchors as make_anchors
from model.training.labels import (
    BASE_MASK_SIZE,
    box_offsets,
    choose_cells,
    label_anchors,
    label_cells,
    mask_windows,
    shrink_windows,
)
from model.training.pairs import Pair, PairRules, PairSampler
from model.training.store import Store


class Batch(NamedTuple):
    """B pairs and their labels, with k anchors a cell (one plain cell with two branches).

    template, search: uint8 [B, 127, 127, 3] and [B, 255, 255, 3], BGR.
    classes: int8 [B, k, 25, 25]: 1 object, 0 background, -1 left out. offsets: float32 [B, 4, k, 25, 25].
    cells: int64 [P, 3] sample, row, column of positive cells; base: uint8 [P, 63, 63] their masks.
    fine_cells: int64 [R, 3]; fine: uint8 [R, 127, 127].
    group: int64 [B]; pairs of one group may show the same object.
    """

    template: Tensor
    search: Tensor
    classes: Tensor
    offsets: Tensor
    cells: Tensor
    base: Tensor
    fine_cells: Tensor
    fine: Tensor
    group: Tensor


class Labeller:
    """Turns pairs into a batch; `base_cells` and `fine_cells` bound the mask positions of a pair."""

    def __init__(self, variant: str = "three", *, base_cells: int = 4, fine_cells: int = 2) -> None:
        self.variant = variant
        self.base_cells, self.fine_cells = base_cells, fine_cells
        self._anchors = make_anchors()

    def batch(self, pairs: list[Pair], rng: np.random.Generator) -> Batch:
        """Label `pairs`."""
        classes, offsets = [], []
        cells: list[np.ndarray] = []
        fine_cells: list[np.ndarray] = []
        base, fine = [np.empty((0, BASE_MASK_SIZE, BASE_MASK_SIZE), np.uint8)], [np.empty((0, 127, 127), np.uint8)]
        for number, pair in enumerate(pairs):
            if self.variant == "two":
                label = label_cells(pair.box, rng)
                offsets.append(np.zeros((4, *label.shape), np.float32))
            else:
                label = label_anchors(self._anchors, pair.box, rng)
                offsets.append(box_offsets(self._anchors, pair.box))
            classes.append(label)
            chosen = choose_cells(label, self.base_cells, rng)
            windows = mask_windows(pair.mask, chosen)
            located = np.column_stack([np.full(len(chosen), number), chosen]).astype(np.int64)
            cells.append(located)
            base.append(shrink_windows(windows))
            fine_cells.append(located[: self.fine_cells])
            fine.append(windows[: self.fine_cells])
        return Batch(
            template=torch.from_numpy(np.stack([pair.template for pair in pairs])),
            search=torch.from_numpy(np.stack([pair.search for pair in pairs])),
            classes=torch.from_numpy(np.stack(classes)),
            offsets=torch.from_numpy(np.stack(offsets)),
            cells=torch.from_numpy(np.concatenate(cells)),
            base=torch.from_numpy(np.concatenate(base)),
            fine_cells=torch.from_numpy(np.concatenate(fine_cells)),
            fine=torch.from_numpy(np.concatenate(fine)),
            group=torch.tensor([pair.group for pair in pairs], dtype=torch.int64),
        )


class BatchDataset(Dataset[Batch]):
    """Batches by number. The store is opened in the process that first asks for one."""

    def __init__(
        self,
        store: Path,
        *,
        labeller: Labeller,
        rules: PairRules,
        held_out: frozenset[str],
        batch_size: int,
        seed: int,
        length: int,
    ) -> None:
        self._store, self._labeller, self._rules, self._held_out = store, labeller, rules, held_out
        self._batch_size, self._seed, self._length = batch_size, seed, length
        self._sampler: PairSampler | None = None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Batch:
        if self._sampler is None:
            cv2.setNumThreads(1)
            self._sampler = PairSampler(Store(self._store), self._rules, self._held_out)
        rng = np.random.default_rng((self._seed, index))
        pairs = [self._sampler.draw(rng) for _ in range(self._batch_size)]
        return self._labeller.batch(pairs, rng)


def batches(dataset: BatchDataset, *, start: int, workers: int) -> Iterator[Batch]:
    """Batches from number `start` on, in order, `workers` processes ahead (0: in this process)."""
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_size=None,
        sampler=range(start, len(dataset)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    yield from loader
