"""DAVIS-2016 and DAVIS-2017: JPEGImages/480p, Annotations/480p, ImageSets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.training.convert.files import (
    ConvertError,
    Progress,
    box_of_all,
    image_files,
    image_size,
    label_rows,
    read_labels,
    relative,
    require,
)
from model.training.data.tables import TableWriter


def convert_davis(
    root: Path, out: Path, *, year: int = 2016, splits: Sequence[str] = ("train", "val"), progress: Progress
) -> int:
    """Write the tables of DAVIS; returns the number of sequences.

    Args:
        root: folder with JPEGImages, Annotations and ImageSets.
        out: folder of the tables.
        year: 2016 joins the objects of a frame into one, "1"; 2017 keeps them apart.
        splits: lists of ImageSets to take.
        progress: told of every sequence.

    Raises:
        ConvertError: a file is missing or unreadable; names it.
    """
    wanted = [(split, name) for split in splits for name in _listed(root, year, split)]
    with TableWriter(out) as tables:
        for number, (split, name) in enumerate(wanted):
            pictures = image_files(root / "JPEGImages" / "480p" / name)
            width, height = image_size(pictures[0])
            first: dict[str, float | None] = {}
            known: set[str] = set()
            for index, picture in enumerate(pictures):
                path = root / "Annotations" / "480p" / name / f"{picture.stem}.png"
                if index and not path.exists():
                    continue  # the test sets have labels of the first frame alone
                labels = read_labels(require(path, "label picture"))
                if labels.shape != (height, width):
                    raise ConvertError(f"{path}: is {labels.shape[1]}x{labels.shape[0]}, its video {width}x{height}")
                first = first or box_of_all(labels)
                rows = label_rows(labels, known, merge=year == 2016)
                tables.masks({"sequence": name, "split": split, "frame_index": index, **row} for row in rows)
            tables.sequence(
                sequence=name, split=split, images=[relative(picture, out) for picture in pictures],
                frames=len(pictures), width=width, height=height, fps=24.0, **first,
            )  # fmt: skip
            progress(number + 1, len(wanted))
    return len(wanted)


def _listed(root: Path, year: int, split: str) -> list[str]:
    """Sequences of a split; the release of 2016 lists files, that of 2017 names."""
    folders = [root / "ImageSets" / name for name in ((str(year), "480p") if year == 2016 else (str(year),))]
    path = next((folder / f"{split}.txt" for folder in folders if (folder / f"{split}.txt").exists()), None)
    if path is None:
        raise ConvertError(f"{folders[0] / f'{split}.txt'}: there is no such list of sequences")
    lines = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    return list(dict.fromkeys(Path(line).parent.name if "/" in line else line for line in lines))
