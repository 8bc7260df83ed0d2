"""Files that name other files and hosts, damaged videos by the hundred, and a port that counts who connects."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path


class Listener:
    """Counts connections to a port of this machine."""

    def __init__(self) -> None:
        self.connections = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()


LISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{url}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT1S">'
        '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{url}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>"
    ),
    "subtitles": "[Script Info]\nTitle: {url}\n",
    "smil": '<smil><body><video src="{url}"/></body></smil>',
}


def move_data(path: Path, other: Path) -> None:
    """Make the frames of a QuickTime file lie in another one: an alias in its `dref` box, and its own data blanked."""
    target = os.fsencode(other)
    target += b"\0" * (len(target) % 2)
    record = b"\0" * 10 + b"\0" + b"\0" * 27 + b"\0" * 12 + b"\1x" + b"\0" * 62 + b"\0" * 16 + b"\0\0\0\0" + b"\0" * 16
    record += struct.pack(">hH", 2, len(target)) + target + struct.pack(">hH", -1, 0)
    entry = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    data = bytearray(path.read_bytes())
    at = data.index(b"url ", data.index(b"dref")) - 4
    data[at : at + 12] = entry
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = data.index(box) - 4
        size = struct.unpack_from(">I", data, start)[0]
        struct.pack_into(">I", data, start, size + len(entry) - 12)
    start = data.index(b"mdat")
    assert start < data.index(b"moov"), "offsets of the frames must not move"
    size = struct.unpack_from(">I", data, start - 4)[0]
    data[start + 4 : start - 4 + size] = bytes(size - 8)
    path.write_bytes(data)


def cut_at_tenths(path: Path, folder: Path) -> Iterator[Path]:
    """Copies of a file that end after one tenth of it, two tenths, and so on."""
    data = path.read_bytes()
    for tenth in range(1, 10):
        cut = folder / f"cut{tenth}-{path.name}"
        cut.write_bytes(data[: len(data) * tenth // 10])
        yield cut


def change_bytes(path: Path, folder: Path, variants: int) -> Iterator[Path]:
    """Copies of a file with 1, 3 or 20 bytes changed, the same ones every time."""
    rng = random.Random(path.name)
    for number in range(variants):
        data = bytearray(path.read_bytes())
        for _ in range(rng.choice([1, 3, 20])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        changed = folder / f"fuzz{number}-{path.name}"
        changed.write_bytes(data)
        yield changed


def claim_ten_times_the_frames(path: Path) -> None:
    """Make the header of an MP4 or AVI file speak of ten times the frames that are there."""
    data = bytearray(path.read_bytes())
    if path.suffix == ".avi":
        for at in (data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32):
            struct.pack_into("<I", data, at, 10 * struct.unpack_from("<I", data, at)[0])
    else:
        for box, offset in ((b"stts", 12), (b"mdhd", 20), (b"mvhd", 20), (b"tkhd", 24)):
            at = data.index(box) + offset
            struct.pack_into(">I", data, at, 10 * struct.unpack_from(">I", data, at)[0])
    path.write_bytes(data)
