"""Clips of what makes trackers lose their object, with exact truth: occlusions, exits, look-alikes, crossing twins.

    python -m pipeline.demo.trials FOLDER

writes them as `write_corpus` does, and the truth once more as `jobs/evaluate.py` reads it. Every clip is drawn from
its id, the same each time; a round has one clip a trouble and length, with other objects, places and grounds.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.parquet as pq
import typer

from pipeline.demo import sprites
from pipeline.demo.corpus import write_corpus
from pipeline.demo.scenes import HEIGHT, WIDTH, Actor, Pose, Scene
from pipeline.demo.sprites import Sprite
from pipeline.demo.texture import Colour

OCCLUSIONS = (10, 20, 40, 60)
EXITS = (15, 40, 80, 120)
_LEAD = 40  # frames before the trouble begins, and after it ends
_KINDS: tuple[Callable[[np.random.Generator], Sprite], ...] = (
    sprites.fish, sprites.ball, sprites.beetle, sprites.starfish
)  # fmt: skip
_PALETTES: tuple[list[Colour], ...] = (
    [(36, 62, 22), (70, 104, 34), (112, 140, 52), (170, 172, 92)],
    [(20, 62, 70), (44, 104, 98), (96, 138, 116), (150, 160, 122)],
    [(132, 104, 70), (184, 152, 108), (214, 190, 148), (236, 222, 190)],
    [(52, 52, 60), (92, 92, 100), (140, 138, 136), (190, 186, 180)],
)
_SIZE = 96.0


def trials(rounds: Sequence[int] = (0,)) -> Iterator[Scene]:
    """The clips: each trouble of each length in every round, with objects and grounds in turn."""
    for turn in rounds:
        for number, frames in enumerate(OCCLUSIONS, start=turn):
            yield _behind(f"v{turn}-behind-{frames:03d}", number, frames, decoy=False)
            yield _behind(f"v{turn}-lookalike-{frames:03d}", number + 1, frames, decoy=True)
        for number, frames in enumerate(EXITS, start=turn + 2):
            yield _exit(f"v{turn}-exit-{frames:03d}", number, frames)
        for number in range(4):
            yield _twins(f"v{turn}-twins-{number}", number + turn)


def _behind(clip_id: str, number: int, hidden: int, *, decoy: bool) -> Scene:
    """An object passes behind a board that hides it whole for so many frames; a decoy is of its kind, and in sight."""
    frames, speed = 2 * _LEAD + hidden, 4.0
    width = _SIZE * 1.1 + speed * hidden
    y, start = _number(clip_id, "y", 130, 230), _SIZE / 2 + 6
    board_x = start + speed * (_LEAD + hidden / 2)

    def path(t: float) -> Pose:
        return Pose(start + speed * t * (frames - 1), y + 10 * np.sin(9 * t), _SIZE, 14 * np.sin(7 * t))

    actors = [_actor("target", number, path)]
    if decoy:
        x, below = board_x + width / 2 - 20, y + (110 if y < HEIGHT / 2 else -110)
        actors.append(_actor("decoy", number, lambda t: Pose(x - 60 * t, below, _SIZE, 20 * t), is_tracked=False))
    actors.append(Actor("board", sprites.board, lambda t: Pose(board_x, y, width, 0.0), is_tracked=False))
    return _scene(clip_id, number, frames, actors)


def _exit(clip_id: str, number: int, absent: int) -> Scene:
    """An object leaves the picture, is away for so many frames, and comes back at the same side or at the other."""
    frames, speed = 2 * _LEAD + absent, 5.0
    y, outside = _number(clip_id, "y", 110, 250), WIDTH + _SIZE / 2 + 4
    back_left = number % 2 == 1

    def path(t: float) -> Pose:
        frame = t * (frames - 1)
        if frame < _LEAD + absent / 2:
            return Pose(outside + speed * (frame - _LEAD), y, _SIZE, 8 * np.sin(0.3 * frame))
        inside = speed * (frame - _LEAD - absent)
        x = inside - _SIZE / 2 - 4 if back_left else outside - inside
        return Pose(x, y + 24, _SIZE, 8 * np.sin(0.3 * frame))

    return _scene(clip_id, number, frames, [_actor("target", number, path)])


def _twins(clip_id: str, number: int) -> Scene:
    """Two objects of one kind cross, the one partly in front of the other."""
    y = _number(clip_id, "y", 150, 210)
    left = _actor("left", number, lambda t: Pose(110 + 420 * t, y, _SIZE, 6 * np.sin(8 * t)))
    right = _actor("right", number, lambda t: Pose(530 - 420 * t, y + 34, _SIZE, 6 * np.sin(8 * t + 1)))
    return _scene(clip_id, number, 80, [left, right])


def _actor(object_id: str, number: int, path: Callable[[float], Pose], *, is_tracked: bool = True) -> Actor:
    return Actor(object_id, _KINDS[number % len(_KINDS)], path, is_tracked)


def _scene(clip_id: str, number: int, frames: int, actors: list[Actor]) -> Scene:
    palette = _PALETTES[(number + len(clip_id)) % len(_PALETTES)]
    return Scene(clip_id, frames, palette, 64, lambda t: (20 * t, 12 * np.sin(5 * t)), tuple(actors))


def _number(clip_id: str, name: str, low: float, high: float) -> float:
    rng = np.random.default_rng(zlib.crc32(f"{clip_id} {name}".encode()))
    return float(rng.uniform(low, high))


def main(
    folder: Annotated[Path, typer.Argument(help="Where videos, manifest and truth go.")],
    rounds: Annotated[str, typer.Option(help="Which rounds of 16 clips, as 0 or 2-4.")] = "0",
) -> None:
    """Draw the clips."""
    first, _, last = rounds.partition("-")
    corpus = write_corpus(folder, list(trials(range(int(first), int(last or first) + 1))))
    truth = pq.read_table(corpus.truth)
    pq.write_table(truth.rename_columns({"clip_id": "sequence"}), folder / "masks.parquet")
    typer.echo(f"{len(corpus.videos)} clips, {corpus.frames} frames in {folder}")


if __name__ == "__main__":
    typer.run(main)
