"""A folder of numbered pictures, read as a video."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Pictures that are read; the case does not matter."""

_NUMBER = re.compile(r"%(0\d+)?d")


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a folder, in order.

    Attributes:
        source: the folder, or a zip file with its pictures.
        names: of the files in it.
    """

    source: str
    names: tuple[str, ...]

    def files(self, wanted: range | None = None) -> Iterator[bytes]:
        """The pictures' files, or the wanted of them, one after the other. Raises OSError where one cannot be read."""
        names = self.names if wanted is None else self.names[wanted.start : wanted.stop : wanted.step]
        if os.path.isdir(self.source):
            for name in names:
                with open(os.path.join(self.source, name), "rb") as file:
                    yield file.read()
            return
        try:
            with zipfile.ZipFile(self.source) as archive:
                for name in names:
                    yield archive.read(name)
        except zipfile.BadZipFile as error:
            raise OSError(str(error)) from None


def is_pattern(name: str) -> bool:
    """Whether a path or URI ends in a pattern of numbered files, such as `%05d.jpg`."""
    return _NUMBER.search(name.rsplit("/", 1)[-1]) is not None


def chosen_names(names: Iterable[str], pattern: str | None = None) -> tuple[str, ...]:
    """The pictures among the files of a folder, in the order in which a reader counts: 2.png before 10.png.

    Args:
        pattern: a name such as `%05d.jpg`: only files of such names; None is all pictures.
    """
    if pattern is not None:
        before, after = (re.escape(part) for part in _NUMBER.split(pattern, maxsplit=1)[::2])
        width = (_NUMBER.search(pattern) or [None, None])[1]
        digits = rf"\d{{{int(width)},}}" if width else r"\d+"
        wanted = re.compile(before + digits + after)
        return tuple(sorted((name for name in names if wanted.fullmatch(name)), key=_counted))
    return tuple(sorted((name for name in names if name.lower().endswith(SUFFIXES)), key=_counted))


def _counted(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], name


def find_pictures(path: str) -> Pictures | None:
    """The pictures of a local folder, of a pattern (`frames/%05d.jpg`), or of a zip file; None where it is neither."""
    if os.path.isdir(path):
        return Pictures(path, chosen_names(os.listdir(path)))
    folder, name = os.path.split(path)
    if is_pattern(name) and os.path.isdir(folder) and not os.path.exists(path):
        return Pictures(folder, chosen_names(os.listdir(folder), name))
    if os.path.isfile(path) and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return Pictures(path, chosen_names(archive.namelist()))
    return None


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG, PNG or WebP picture by its header; None where it has none."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        return struct.unpack(">II", data[16:24])
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        if data[12:16] == b"VP8X":
            width, height = (int.from_bytes(data[offset : offset + 3], "little") + 1 for offset in (24, 27))
            return width, height
        if data[12:16] == b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return _jpeg_size(data) if data[:2] == b"\xff\xd8" else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header, not a table
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        place += 1 if marker == 0xFF else 2 + length
    return None


def decode_picture(data: bytes, max_pixels: int) -> NDArray[np.uint8] | None:
    """A picture's pixels, uint8 [H, W, 3] RGB, upright by its EXIF data; None where it is damaged or too large."""
    size = picture_size(data)
    if size is None or size[0] * size[1] > max_pixels:
        return None
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
