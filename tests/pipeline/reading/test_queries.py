"""docs/queries.md: its SQL and its Polars say the same, which is the truth, on a local run and on one in S3."""

from __future__ import annotations

import ast
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import combinations, groupby, pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from pycocotools import mask as coco

from pipeline import open_run
from pipeline.reading import Run
from tests.conftest import ROOT, S3Store
from tests.pipeline.example_run import CATEGORIES, FPS, ExampleRun, Track, write_example
from tests.pipeline.export.test_export import SIZES

PAGE = (ROOT / "docs" / "queries.md").read_text()
HEAD, *BLOCKS = [
    dict(re.findall(r"```(sql|python)\n(.*?)```", section, re.DOTALL))
    for section in re.split(r"^## \d+\. ", PAGE, flags=re.MULTILINE)
]
TITLES = re.findall(r"^## (\d+\. .*)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleRun:
    return write_example(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module", params=["local", "s3"])
def run(request: pytest.FixtureRequest, example: ExampleRun) -> Run:
    if request.param == "local":
        return open_run(example.output)
    store: S3Store = request.getfixturevalue("s3_store")
    return open_run(example.upload(store.uri("queries")))


def in_polars(code: str, run: Run) -> pl.DataFrame:
    """The value of the last expression of a block, with the page's set-up before it."""
    tree = ast.parse(HEAD["python"] + code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {"run": run}
    exec(compile(tree, "queries.md", "exec"), names)
    return eval(compile(ast.Expression(last.value), "queries.md", "eval"), names).collect()


def same(found: list[tuple], want: list[tuple]) -> bool:
    return len(found) == len(want) and all(
        a == b or (isinstance(b, float) and a == pytest.approx(b, rel=1e-4, abs=1e-6))
        for one, other in zip(found, want, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def tracks_of(example: ExampleRun) -> dict[tuple[str, str], list[Track]]:
    tracks = defaultdict(list)
    for track in example.tracks:
        tracks[track.clip_id, track.object_id].append(track)
    return dict(sorted(tracks.items()))


def ends(example: ExampleRun) -> list[tuple]:
    return [
        ("ok", None, None, 3, 38),
        ("failed", "fetch", "NotFound", 1, 0),
        ("partial", "decode", "Truncated", 1, 6),
    ]


def totals(example: ExampleRun) -> list[tuple]:
    frames = {(t.clip_id, t.frame) for t in example.tracks}
    return [(len(example.tracks), 7, len(frames), sum(t.area for t in example.tracks) / 1e6)]


def sureness(example: ExampleRun) -> list[tuple]:
    rows = []
    for key, items in tracks_of(example).items():
        presences = [t.presence for t in items]
        lost = float(np.mean([t.is_lost for t in items]))
        rows.append((*key, len(items), float(np.mean(presences)), min(presences), lost))
    return sorted(rows, key=lambda row: (row[3], row))


def losses(example: ExampleRun) -> list[tuple]:
    lost = {}
    for key, items in tracks_of(example).items():
        frames = [t.frame for t in items if t.is_lost]
        if frames:
            lost[key] = frames[0]
    return [(*key, frame, frame / FPS) for key, frame in lost.items()]


def centre(track: Track) -> np.ndarray:
    x, y, w, h = track.box
    return np.array([x + w / 2, y + h / 2])


def jumps(example: ExampleRun) -> list[tuple]:
    rows = []
    for (clip_id, object_id), items in tracks_of(example).items():
        speed = {
            b.frame: float(np.linalg.norm(centre(b) - centre(a))) * FPS / (b.frame - a.frame)
            for a, b in pairwise(items)
        }
        best = max(speed.values())
        frame = min(frame for frame, value in speed.items() if value > best - 1e-4)
        rows.append((clip_id, object_id, frame, best / SIZES[clip_id][1]))
    return rows


def cover(example: ExampleRun) -> list[tuple]:
    rows = []
    for (clip_id, object_id), items in tracks_of(example).items():
        shares = [t.area / np.prod(SIZES[clip_id]) for t in items]
        rows.append((clip_id, object_id, float(np.mean(shares)), float(max(shares))))
    return sorted(rows, key=lambda row: (-row[3], *row[:2]))


def company(example: ExampleRun) -> list[tuple]:
    objects = Counter((t.clip_id, t.frame) for t in example.tracks if t.area)
    frames = {(t.clip_id, t.frame) for t in example.tracks}
    counts = Counter((clip_id, objects[clip_id, frame]) for clip_id, frame in frames)
    return [(*key, count) for key, count in sorted(counts.items())]


def overlaps(example: ExampleRun) -> list[tuple]:
    found: dict[tuple, list[float]] = defaultdict(list)
    for a, b in combinations(sorted(example.tracks, key=lambda t: t.object_id), 2):
        if (a.clip_id, a.frame) == (b.clip_id, b.frame):
            iou = float(coco.iou(np.array([a.box]), np.array([b.box]), [0])[0, 0])
            if iou > 0:
                found[a.clip_id, a.object_id, b.object_id].append(iou)
    return [(*key, len(values), max(values)) for key, values in sorted(found.items())]


def gaps(example: ExampleRun) -> list[tuple]:
    return [("alpha", "a", 11, 13), ("alpha", "b", 11, 13)]


def views(example: ExampleRun) -> list[tuple]:
    rows = []
    for key, items in tracks_of(example).items():
        for t in sorted(items, key=lambda t: (-t.presence, -np.float32(t.score), -t.area, t.frame))[:2]:
            counts = coco.encode(np.asfortranarray(t.mask, np.uint8))["counts"].decode()
            rows.append((*key, t.frame, t.presence, t.score, t.area, counts))
    return rows


def kinds(example: ExampleRun) -> list[tuple]:
    named = {key: items for key, items in tracks_of(example).items() if key in CATEGORIES}
    objects = Counter(CATEGORIES[key] for key in named)
    rows = Counter(CATEGORIES[key] for key, items in named.items() for _ in items)
    return [(name, count, rows[name]) for name, count in sorted(objects.items(), key=lambda item: (-item[1], item[0]))]


def long_shown(example: ExampleRun) -> list[tuple]:
    rows = []
    for key, items in tracks_of(example).items():
        seconds = (items[-1].frame - items[0].frame + 1) / FPS
        if CATEGORIES.get(key) == "boat" and seconds > 0.5:
            path = sum(float(np.linalg.norm(centre(b) - centre(a))) for a, b in pairwise(items))
            rows.append((*key, seconds, float(np.mean([t.area for t in items])), path))
    return rows


def times_lost(example: ExampleRun) -> list[tuple]:
    rows = []
    for key, items in tracks_of(example).items():
        runs = [len(list(run)) for is_lost, run in groupby(items, key=lambda t: t.is_lost) if is_lost]
        if runs:
            rows.append((*key, len(runs), sum(runs), max(runs)))
    return sorted(rows, key=lambda row: (-row[4], *row[:2]))


TRUTH: list[Callable[[ExampleRun], list[tuple]]] = [
    ends,
    totals,
    sureness,
    losses,
    jumps,
    cover,
    company,
    overlaps,
    gaps,
    views,
    kinds,
    long_shown,
    times_lost,
]


@pytest.mark.parametrize("number", range(13), ids=TITLES)
def test_both_forms_give_the_truth(run: Run, example: ExampleRun, number: int) -> None:
    want = TRUTH[number](example)
    assert want
    with run.duckdb() as connection:
        relation = connection.sql(BLOCKS[number]["sql"])
        columns, by_sql = relation.columns, relation.fetchall()
    in_frame = in_polars(BLOCKS[number]["python"], run)
    assert in_frame.columns == columns
    assert same(by_sql, want), f"SQL gives {by_sql}, the truth is {want}"
    assert same(in_frame.rows(), want), f"Polars gives {in_frame.rows()}, the truth is {want}"


def test_there_are_thirteen() -> None:
    assert len(BLOCKS) == len(TITLES) == len(TRUTH) == 13
    assert all(sorted(block) == ["python", "sql"] for block in BLOCKS)


def test_the_views_of_the_shell_are_those_of_python(example: ExampleRun, tmp_path: Path) -> None:
    shutil.copytree(example.output, tmp_path / "out" / "run1")
    (tmp_path / "out" / "run1" / "clips" / "part-0ee5-0000.parquet").unlink()
    with duckdb.connect() as shell, open_run(str(tmp_path / "out" / "run1")).duckdb() as python:
        shell.execute(HEAD["sql"].replace("'out/", f"'{tmp_path}/out/"))
        for table in ("clips", "masks"):
            corners = "REPLACE (corners::FLOAT[] AS corners)" if table == "masks" else ""
            ask = f"SELECT * {corners} FROM {table} ORDER BY ALL"
            assert shell.sql(ask).columns == python.sql(ask).columns
            assert shell.execute(ask).fetchall() == python.execute(ask).fetchall()


def test_the_first_lines_of_the_page(run: Run, example: ExampleRun) -> None:
    """The calls of its head, on the example's names."""
    block = PAGE[: PAGE.index("`open_run` shows")].replace("harbour", "alpha").replace("tug", "a")
    lines = [line.strip().split("#")[0] for line in block.splitlines() if line.startswith("    ")]
    code = "\n".join(lines).replace("120", "20").replace("(100, 200)", "(10, 20)").replace("out/run1", run.uri)
    names: dict[str, Any] = {}
    exec(code, names)
    mask = next(t.mask for t in example.of("alpha") if (t.object_id, t.frame) == ("a", 20))
    assert np.array_equal(names["clip"].mask("a", 20), mask)
