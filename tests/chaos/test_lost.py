"""Clips that kill their actors, and actors that cannot be started again: what they cost, and what they do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from model.network import SiamMask, SiamMaskConfig
from model.weights import save_weights
from pipeline.driver import alone
from pipeline.driver.run import run
from pipeline.plan.options import ActorCount, SegmentOptions
from tests.chaos.engines import POISON_WIDTH, BadRestart, Deadly
from tests.pipeline.videos import make_video

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_local"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, SiamMask(SiamMaskConfig("resnet18")), metadata={"name": "random"})
    return str(path)


@pytest.fixture(scope="module")
def last_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the actors that are killed name the scratch folders that they leave behind."""
    return tmp_path_factory.mktemp("last-words")


def _manifest(folder: Path, names: list[str]) -> str:
    video = make_video(folder / "v.mp4", 6, width=64, height=48)
    width = {"poison": POISON_WIDTH}
    clips = [
        {"clip_id": name, "video_uri": str(video), "objects": [{"box": [5, 5, width.get(name, 20.0), 20]}]}
        for name in names
    ]
    (folder / "m.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    return str(folder / "m.jsonl")


def _clips(output: Path) -> dict[str, Any]:
    return {row["clip_id"]: row for row in pq.read_table(output / "clips").to_pylist()}


def test_a_clip_that_kills_its_actor_is_one_failed_row(
    tmp_path: Path, weights: str, last_words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shard-mates finish, and so does the other shard that its actor had in hand, and a clip without disk."""
    monkeypatch.setattr(alone, "PAUSES_S", (0.2,))
    names = ["a", "poison", "b", "c", "full", *"defghij"]  # two a shard
    output = tmp_path / "out"
    options = SegmentOptions(
        _manifest(tmp_path, names),
        str(output),
        weights=weights,
        actors=ActorCount(1, 1),
        clips_per_file=2,
        max_failed=1.0,
        strict=True,
    )
    assert run(options, build_engine=Deadly(str(last_words))) == 3
    clips = _clips(output)
    assert {name: clip["status"] for name, clip in clips.items()} == {
        name: "failed" if name in ("poison", "full") else "ok" for name in names
    }
    assert (clips["poison"]["error_stage"], clips["poison"]["error_type"]) == ("actor", "ActorDied")
    assert (clips["full"]["error_stage"], clips["full"]["error_type"]) == ("write", "NoSpace")
    rows = pq.read_table(output / "masks").to_pylist()
    assert {row["clip_id"] for row in rows} == set(names) - {"poison", "full"}
    assert len(rows) == 6 * 10
    parts = {clip["masks_part"] for clip in clips.values()} - {None}
    assert {path.name for path in (output / "masks").iterdir()} == parts
    assert not list(output.glob("_runs/*/plan/*"))
    (report,) = output.glob("_runs/*/report.json")
    assert json.loads(report.read_text())["clips"]["failed"] == 2


def test_an_actor_that_cannot_be_started_again_at_once_hangs_nothing(tmp_path: Path, weights: str) -> None:
    (tmp_path / "starts").mkdir()
    options = SegmentOptions(
        _manifest(tmp_path, ["a", "b", "c"]), str(tmp_path / "out"), weights=weights, actors=ActorCount(1, 1)
    )
    assert run(options, build_engine=BadRestart(str(tmp_path / "starts"))) == 0
    assert {clip["status"] for clip in _clips(tmp_path / "out").values()} == {"ok"}
    assert len(list((tmp_path / "starts").iterdir())) >= 4


def test_killed_actors_leave_nothing_on_their_disks(last_words: Path) -> None:
    """The actors of the tests above were killed with rows in hand; the next ones have cleared up after them."""
    folders = [Path(line) for words in last_words.iterdir() for line in words.read_text().split()]
    assert folders
    assert not [folder for folder in folders if folder.exists()]
