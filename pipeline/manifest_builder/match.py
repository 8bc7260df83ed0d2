"""Which labels belong to which video, by name."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline import storage
from pipeline.manifest_builder.labelled_video import LabelError, LabelledVideo

# Folders whose name says that pictures are in them and not of which video.
_PICTURES = frozenset(("img", "img1", "images", "imgs", "color", "frames", "rgb", "data"))
_NOT_IN_DJANGO_NAMES = re.compile(r"[^-\w.]")


@dataclass(frozen=True, slots=True)
class Matched:
    """Videos with their labels, and what is left over on either side."""

    pairs: tuple[tuple[str, LabelledVideo], ...]
    videos_without: tuple[str, ...]
    labels_without: tuple[LabelledVideo, ...]


def match(videos: Sequence[str], labels: Iterable[LabelledVideo]) -> Matched:
    """Find the video of each set of labels: by the end of its path, else by its name, else by its name's stem, else by
    the name that Django makes of it.

    One video and one set of labels belong together whatever they are called. Labels without objects count as none.

    Args:
        videos: absolute URIs.
        labels: all that were read.

    Raises:
        LabelError: a name fits several videos, or two sets of labels fit one video.
    """
    labels = [labelled for labelled in labels if labelled.objects]
    if len(videos) == len(labels) == 1:
        return Matched(((videos[0], labels[0]),), (), ())
    index = _Index(videos)
    labels_of: dict[str, LabelledVideo] = {}
    lost = []
    for labelled in labels:
        uri = index.find(labelled)
        if uri is None:
            lost.append(labelled)
        elif uri in labels_of:
            raise LabelError(
                f"{labelled.where}: the video {storage.redact(uri)} has labels in {labels_of[uri].where} already: "
                "give one set of labels a video"
            )
        else:
            labels_of[uri] = labelled
    pairs = tuple((uri, labels_of[uri]) for uri in videos if uri in labels_of)
    return Matched(pairs, tuple(uri for uri in videos if uri not in labels_of), tuple(lost))


def video_stem(uri: str) -> str:
    """What a video is called: its file's name without the suffix, or its folder's name."""
    if not uri.endswith("/"):
        return posixpath.splitext(posixpath.basename(uri))[0]
    *_, parent, folder = ("/" + uri.rstrip("/")).split("/")
    return parent if folder.lower() in _PICTURES and parent else folder


def django_name(name: str) -> str:
    """A file's name as Django keeps an upload (`get_valid_filename`): `my video (1).mp4` is `my_video_1.mp4`."""
    return _NOT_IN_DJANGO_NAMES.sub("", name.strip().replace(" ", "_"))


class _Index:
    def __init__(self, videos: Sequence[str]) -> None:
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_django_name: dict[str, list[str]] = defaultdict(list)
        for uri in videos:
            name, stem = posixpath.basename(uri), video_stem(uri)
            self._by_name[name or stem].append(uri)
            self._by_stem[stem].append(uri)
            self._by_django_name[django_name(name or stem)].append(uri)

    def find(self, labels: LabelledVideo) -> str | None:
        """The one video that the names fit best."""
        bases = [(name, posixpath.basename(name.rstrip("/"))) for name in labels.names]
        for name, base in bases:
            for candidates in (self._by_name.get(base), self._by_stem.get(base)):
                if candidates:
                    return self._one(candidates, name, labels)
        for name, base in bases:
            stem, suffix = posixpath.splitext(base)
            candidates = self._by_stem.get(stem)
            if candidates and suffix:
                return self._one(candidates, name, labels)
        for name, base in bases:
            candidates = self._by_django_name.get(django_name(base))
            if candidates:
                return self._one(candidates, name, labels)
        return None

    @staticmethod
    def _one(candidates: list[str], name: str, labels: LabelledVideo) -> str:
        nearest = [uri for uri in candidates if uri.rstrip("/").endswith("/" + name.strip("/"))] or candidates
        if len(nearest) > 1:
            names = " and ".join(storage.redact(uri) for uri in nearest[:2])
            raise LabelError(f"{labels.where}: the name {name!r} fits {len(nearest)} videos, {names}: build them apart")
        return nearest[0]
