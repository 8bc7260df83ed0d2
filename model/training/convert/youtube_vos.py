"""YouTube-VOS: JPEGImages, Annotations and meta.json of one split."""

from __future__ import annotations

from pathlib import Path

from model.training.convert.files import (
    ConvertError,
    Progress,
    box_of_all,
    image_files,
    image_size,
    label_rows,
    read_json,
    read_labels,
    relative,
    require,
)
from model.training.data.tables import TableWriter


def convert_youtube_vos(root: Path, out: Path, *, split: str = "train", progress: Progress) -> int:
    """Write the tables of one split of YouTube-VOS; returns the number of videos.

    Args:
        root: folder with JPEGImages, Annotations and meta.json (the archive's `train` or `valid`).
        out: folder of the tables.
        split: what the tables call it.
        progress: told of every video.

    Raises:
        ConvertError: a file is missing or unreadable; names it.
    """
    meta = read_json(root / "meta.json")
    videos = meta.get("videos") if isinstance(meta, dict) else None
    if not isinstance(videos, dict):
        raise ConvertError(f"{root / 'meta.json'}: has no object `videos`")
    with TableWriter(out) as tables:
        for number, (name, about) in enumerate(sorted(videos.items())):
            categories = {str(key): value.get("category") for key, value in about.get("objects", {}).items()}
            pictures = image_files(root / "JPEGImages" / name)
            places = {picture.stem: index for index, picture in enumerate(pictures)}
            width, height = image_size(pictures[0])
            first: dict[str, float | None] = {}
            known: set[str] = set()
            for path in image_files(require(root / "Annotations" / name, "folder of labels")):
                if path.stem not in places:
                    raise ConvertError(f"{path}: has no picture of the same name in {root / 'JPEGImages' / name}")
                labels = read_labels(path)
                if labels.shape != (height, width):
                    raise ConvertError(f"{path}: is {labels.shape[1]}x{labels.shape[0]}, its video {width}x{height}")
                first = first or box_of_all(labels)
                tables.masks(
                    {
                        "sequence": name,
                        "split": split,
                        "frame_index": places[path.stem],
                        "category": categories.get(row["object_id"]),
                        **row,
                    }
                    for row in label_rows(labels, known)
                )
            tables.sequence(
                sequence=name, split=split, images=[relative(picture, out) for picture in pictures],
                frames=len(pictures), width=width, height=height, **first,
            )  # fmt: skip
            progress(number + 1, len(videos))
    return len(videos)
