"""The demo corpus, a small network, and what a run over them wrote, for the tests of the main job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from model.network import SiamMask, SiamMaskConfig
from model.weights import save_weights
from pipeline.demo.corpus import Corpus, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small network of random weights: it tracks nothing, but the same nothing every time."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    metadata = {"name": "random", "licence": "none needed", "tracker": {"preset": "vot"}}
    save_weights(path, SiamMask(SiamMaskConfig("resnet18")), metadata=metadata)
    return str(path)


def clip_rows(output: str | Path) -> list[dict[str, Any]]:
    return pq.read_table(f"{output}/clips").sort_by("clip_id").to_pylist()


def mask_rows(output: str | Path) -> list[dict[str, Any]]:
    table = pq.read_table(f"{output}/masks")
    return table.sort_by([(name, "ascending") for name in ("clip_id", "object_id", "frame_index")]).to_pylist()


def write_manifest(path: Path, clips: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    return str(path)


def manifest_clips(corpus: Corpus) -> list[dict[str, Any]]:
    clips = [json.loads(line) for line in corpus.manifest.read_text().splitlines()]
    return [{**clip, "video_uri": str(corpus.manifest.parent / clip["video_uri"])} for clip in clips]
