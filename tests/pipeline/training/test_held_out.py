"""Held-out sequences that cannot be tracked are found before any work starts, wherever the tables are."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.training.data.tables import TableWriter
from pipeline.errors import UsageError
from pipeline.training.held_out import check_held_out
from tests.conftest import S3Store
from tests.model.training.pictures import moving_disk, small_set, write_sequence
from tests.pipeline.training.uploads import upload


@pytest.fixture(params=["local", "s3"])
def sets(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Two sets: one with red and blue, one with green and with `short`, of two frames."""
    with TableWriter(tmp_path / "more") as tables:
        for name, frames in (("green", 5), ("short", 2)):
            write_sequence(tables, tmp_path / "more", name, moving_disk(name, (20, 230, 20), frames, 1))
    folders = [small_set(tmp_path / "shapes"), tmp_path / "more"]
    if request.param == "local":
        return [str(folder) for folder in folders]
    store: S3Store = request.getfixturevalue("s3_store")
    return [upload(folder, store.uri(f"held-out/{tmp_path.name}/{folder.name}")) for folder in folders]


def test_sequences_that_any_of_the_sets_has_are_accepted(sets: list[str]) -> None:
    check_held_out(sets, ("blue",), "train", "--held-out")
    check_held_out(sets, ("blue", "green"), "train", "--held-out")


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("black", "train", r"--held-out: no train sequence black to hold out in {shapes}, {more}$"),
        ("blue", "val", r"--held-out: no val sequence blue to hold out"),
        ("short", "train", r"--held-out: {more}: held-out sequence short has 2 frames with masks"),
    ],
)
def test_one_that_is_missing_or_has_too_few_masks_is_named(
    sets: list[str], name: str, split: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message.format(shapes=sets[0], more=sets[1])):
        check_held_out(sets, (name,), split, "--held-out")
