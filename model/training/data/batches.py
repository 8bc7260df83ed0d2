"""Batches of pairs with their labels, made in worker processes.

Pair p of batch i depends on the seed, i and p alone, so that several training workers, each with its part of a
batch, see the pairs that one worker would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.network.anchors import anchors as make_anchors
from model.tracker.crop import SEARCH_SIZE
from model.training.config import TrainingConfig
from model.training.data.labels import (
    BASE_MASK_SIZE,
    box_offsets,
    choose_cells,
    label_anchors,
    label_cells,
    mask_windows,
    score_size,
    shrink_windows,
)
from model.training.data.pairs import Pair, PairSampler
from model.training.data.training_store import TrainingStore

# Mask positions taken from a pair, and how many of them get a fine mask too.
_BASE_CELLS = 4
_FINE_CELLS = 2


class Batch(NamedTuple):
    """B pairs and their labels, with k anchors a cell (one plain cell with two branches).

    template, search: uint8 [B, 127, 127, 3] and [B, 255, 255, 3], BGR.
    classes: int8 [B, k, 25, 25]: 1 object, 0 background, -1 left out. offsets: float32 [B, 4, k, 25, 25].
    cells: int64 [P, 3] sample, row, column of positive cells of pairs with a mask; base: uint8 [P, 63, 63] their masks.
    fine_cells: int64 [R, 3]; fine: uint8 [R, 127, 127].
    group: int64 [B]; pairs of one group may show the same object.
    With search crops of 143 pixels the grid is 11x11.
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
    """Turns pairs into a batch."""

    def __init__(self, variant: str = "three", *, search_size: int = SEARCH_SIZE) -> None:
        self.variant = variant
        self._grid = score_size(search_size)
        self._anchors = make_anchors(self._grid)

    def batch(self, pairs: Sequence[Pair], rngs: Sequence[np.random.Generator]) -> Batch:
        """Label `pairs`, each with a generator of its own that chooses which anchors and cells count."""
        classes, offsets = [], []
        cells: list[np.ndarray] = []
        fine_cells: list[np.ndarray] = []
        base, fine = [np.empty((0, BASE_MASK_SIZE, BASE_MASK_SIZE), np.uint8)], [np.empty((0, 127, 127), np.uint8)]
        for number, (pair, rng) in enumerate(zip(pairs, rngs, strict=True)):
            if self.variant == "two":
                label = label_cells(pair.box, rng, cells=self._grid)
                offsets.append(np.zeros((4, *label.shape), np.float32))
            else:
                label = label_anchors(self._anchors, pair.box, rng)
                offsets.append(box_offsets(self._anchors, pair.box))
            classes.append(label)
            chosen = choose_cells(label, _BASE_CELLS if pair.masked else 0, rng)
            windows = mask_windows(pair.mask, chosen)
            located = np.column_stack([np.full(len(chosen), number), chosen]).astype(np.int64)
            cells.append(located)
            base.append(shrink_windows(windows))
            fine_cells.append(located[:_FINE_CELLS])
            fine.append(windows[:_FINE_CELLS])
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
    """Batches by number. The store is opened in the process that first asks for one.

    Args:
        store: folder of the training store.
        config: pairs, held-out sequences, batch size, seed, stage and variant count.
        length: batches in all.
        part, parts: which part of every batch to make, of how many.

    Raises:
        ValueError: the batch size cannot be divided by `parts`.
    """

    def __init__(self, store: Path, config: TrainingConfig, *, length: int, part: int = 0, parts: int = 1) -> None:
        if config.batch_size % parts:
            raise ValueError(f"batch size {config.batch_size} cannot be divided among {parts} workers")
        self._store, self._config, self._length = store, config, length
        size = config.batch_size // parts
        self._positions = range(part * size, (part + 1) * size)
        self._labeller = Labeller(config.network.variant, search_size=config.search_size)
        self._sampler: PairSampler | None = None

    def __len__(self) -> int:
        return self._length

    def check(self) -> None:
        """Open the store once, for the errors that it raises: FileNotFoundError, or ValueError of `PairSampler`."""
        self._open()

    def _open(self) -> PairSampler:
        config = self._config
        return PairSampler(
            TrainingStore(self._store),
            config.pairs,
            frozenset(config.held_out),
            search_size=config.search_size,
            masked_only=config.stage == "refine",
        )

    def __getitem__(self, index: int) -> Batch:
        if self._sampler is None:
            cv2.setNumThreads(1)
            self._sampler = self._open()
        rngs = [np.random.default_rng((self._config.seed, index, position)) for position in self._positions]
        return self._labeller.batch([self._sampler.draw(rng) for rng in rngs], rngs)


def batches(dataset: BatchDataset, *, start: int, workers: int, pin: bool = False) -> Iterator[Batch]:
    """Batches from number `start` on, in order, `workers` processes ahead (0: in this process); pinned for a GPU."""
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_size=None,
        sampler=range(start, len(dataset)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=pin,
    )
    yield from loader
