"""Which labels belong to which video, by name."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline import storage
from pipeline.manifest_builder.labels import LabelError, LabelledVideo


@dataclass(frozen=True, slots=True)
class Matched:
    """Videos with their labels, and what is left over on either side."""

    pairs: tuple[tuple[str, LabelledVideo], ...]
    videos_without: tuple[str, ...]
    labels_without: tuple[LabelledVideo, ...]


def match(videos: Sequence[str], labels: Iterable[LabelledVideo]) -> Matched:
    """Find the video of each set of labels: by the end of its path, else by its name, else by its name's stem.

    One video and one set of labels belong together whatever they are called. Labels without objects count as none.

    Args:
        videos: absolute URIs.
        labels: all that were read.

    Raises:
        LabelError: a name fits several videos, or two sets of labels fit one video.
    """
    labels = [one for one in labels if one.objects]
    if len(videos) == len(labels) == 1:
        return Matched(((videos[0], labels[0]),), (), ())
    index = _Index(videos)
    found: dict[str, LabelledVideo] = {}
    lost = []
    for one in labels:
        uri = index.find(one)
        if uri is None:
            lost.append(one)
        elif uri in found:
            raise LabelError(
                f"{one.where}: the video {storage.redact(uri)} has labels in {found[uri].where} already: "
                "give one set of labels a video"
            )
        else:
            found[uri] = one
    pairs = tuple((uri, found[uri]) for uri in videos if uri in found)
    return Matched(pairs, tuple(uri for uri in videos if uri not in found), tuple(lost))


class _Index:
    def __init__(self, videos: Sequence[str]) -> None:
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for uri in videos:
            name = posixpath.basename(uri)
            self._by_name[name].append(uri)
            self._by_stem[posixpath.splitext(name)[0]].append(uri)

    def find(self, labels: LabelledVideo) -> str | None:
        """The one video that the names fit best."""
        for name in labels.names:
            base = posixpath.basename(name)
            for candidates in (self._by_name.get(base), self._by_stem.get(base)):
                if candidates:
                    return self._one(candidates, name, labels)
        for name in labels.names:
            stem, suffix = posixpath.splitext(posixpath.basename(name))
            candidates = self._by_stem.get(stem)
            if candidates and suffix:
                return self._one(candidates, name, labels)
        return None

    @staticmethod
    def _one(candidates: list[str], name: str, labels: LabelledVideo) -> str:
        nearest = [uri for uri in candidates if uri.endswith("/" + name.lstrip("/"))] or candidates
        if len(nearest) > 1:
            some = " and ".join(storage.redact(uri) for uri in nearest[:2])
            raise LabelError(f"{labels.where}: the name {name!r} fits {len(nearest)} videos, {some}: build them apart")
        return nearest[0]
