"""The frames of a video in the order in which they are shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.video.packets import Packets, ShownFrames
from model.video.times import Times, times_of

StampKind = Literal["presentation", "decoding", "none"]
"""What the timestamps of a container's packets say: when a frame is shown, when it is decoded, or nothing."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The frames of a video; a frame's index is its position here.

    Attributes:
        times: when they are shown.
        stamps: int64 [frames], sorted: the timestamps by which decoded frames are told apart; None where that cannot
            be done, and frames are counted from the beginning of the file.
        sizes: int64 [frames], bytes of each frame's packet.
        keys: int64 [k], sorted indexes of the key frames at which decoding may start.
        cuts: int64 [c], those key frames before which the stream can be cut in two that decode on their own.
        refused: indexes of the frames that the decoder is known to refuse.
    """

    times: Times
    stamps: NDArray[np.int64] | None
    sizes: NDArray[np.int64]
    keys: NDArray[np.int64]
    cuts: NDArray[np.int64]
    refused: frozenset[int]


def timeline_of_packets(packets: Packets, head: ShownFrames | None, tick: Fraction, rate: Fraction) -> Timeline:
    """The frames by the timestamps of their packets, each of which has one.

    Args:
        head: what the decoder made of the first packets, for a stream that begins in its middle; None where it begins
            with a key frame before all others.
        tick, rate: see `times_of`.
    """
    visible = ~np.array(packets.hidden, dtype=bool)
    if head is not None and head.packet:
        visible &= _decodable(packets, head)
    pts = np.array([0 if stamp is None else stamp for stamp in packets.pts], dtype=np.int64)[visible]
    sizes = np.array(packets.size, dtype=np.int64)[visible]
    order = np.argsort(pts, kind="stable")
    place = np.empty(len(pts), dtype=np.int64)
    place[order] = np.arange(len(pts))
    stamps = pts[order]
    gaps = np.diff(stamps, prepend=stamps[0] - 1, append=stamps[-1] + 1)
    alone = (gaps[:-1] > 0) & (gaps[1:] > 0)
    # Where two frames share a timestamp it does not say at which of them decoding has begun.
    keys = np.array(packets.key, dtype=bool)[visible] & alone[place]
    later = np.minimum.accumulate(pts[::-1])[::-1]
    # What a discarded packet holds, later frames may lean on: a cut between them would lose it.
    keys_to_cut = keys & (not any(packets.discarded))
    cuts = np.flatnonzero(keys_to_cut & (later == pts) & (place == np.arange(len(pts))))
    times = times_of(stamps.tolist(), tick, rate)
    return Timeline(times, stamps, sizes[order], np.flatnonzero(keys[order]), cuts, frozenset())


def _decodable(packets: Packets, head: ShownFrames) -> NDArray[np.bool_]:
    """bool [packets]: False for those at the beginning that the decoder took without ever showing their frame."""
    result = np.ones(len(packets.pts), dtype=bool)
    result[: head.followed] = False
    result[head.packet] = True
    result[_refused_frames(packets, head)] = True
    return result


def _refused_frames(packets: Packets, shown: ShownFrames) -> list[int]:
    """Packets that the decoder refused, but for those before the first key frame, which cannot decode."""
    first_key = next((number for number, key in enumerate(packets.key) if key), len(packets.key))
    begin = min([first_key, *shown.packet[:1]])
    return [number for number in shown.refused if number >= begin and not packets.hidden[number]]


def timeline_of_decoder(
    packets: Packets, shown: ShownFrames, kind: StampKind, tick: Fraction, rate: Fraction
) -> Timeline:
    """The frames in the order in which the decoder shows them.

    A frame that the decoder refuses has its place after those of the packets before its own.

    Args:
        kind: what the packets' timestamps are. Those of decoding go to the frames in the order in which they are shown.
        tick, rate: see `times_of`.
    """
    latest = np.maximum.accumulate(np.array(shown.packet, dtype=np.int64))
    frames = [(position, True, number) for position, number in enumerate(shown.packet)]
    frames += [(int(np.searchsorted(latest, n)), False, n) for n in _refused_frames(packets, shown)]
    frames.sort()
    numbers = [number for *_, number in frames]
    stamps: list[int | None] = [None] * len(frames)
    if kind == "presentation":
        for index, (position, decoded, number) in enumerate(frames):
            own = shown.pts[position] if decoded else packets.pts[number]
            stamps[index] = shown.dts[position] if own is None and decoded else own
    elif kind == "decoding":
        stamps = [packets.dts[number] for number in sorted(numbers)]
    times = times_of(stamps, tick, rate)
    if kind == "decoding" and numbers != sorted(numbers):
        even = len(set(np.diff(times.ticks).tolist())) == 1
        times = replace(times, timing="counted" if even else "repaired")
    return Timeline(
        times=times,
        stamps=None,
        sizes=np.array(packets.size, dtype=np.int64)[numbers],
        keys=np.empty(0, dtype=np.int64),
        cuts=np.empty(0, dtype=np.int64),
        refused=frozenset(index for index, (_, decoded, _) in enumerate(frames) if not decoded),
    )
