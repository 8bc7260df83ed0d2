"""J and F of a run's tables on the rules of DAVIS and YouTube-VOS: what is judged, what is missing, what is fused."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from model.metrics import boundary_f, region_j, statistics
from pipeline.errors import UsageError
from pipeline.evaluate.categories import seen_objects
from pipeline.evaluate.run_masks import RunMask
from pipeline.evaluate.truth import open_truth
from pipeline.evaluate.vos import ObjectScores, VosRules, fuse, judge_sequence, judge_vos
from pipeline.evaluate.vos_tables import frame_table, means, object_table, warn_missing
from pipeline.reading import open_run
from tests.pipeline.evaluate.made_masks import Masks, rle, square, write_output, write_truth


def judged(truth: Masks, found: Masks, rules: VosRules = "davis", scores: dict[str, float] | None = None) -> dict:
    """`judge_sequence` by object id."""
    true = {frame: {one: rle(mask) for one, mask in objects.items()} for frame, objects in truth.items()}
    said = {
        frame: {one: RunMask(rle(mask), (scores or {}).get(one, 0.5)) for one, mask in objects.items()}
        for frame, objects in found.items()
    }
    return {row["object_id"]: row for row in judge_sequence("dog", true, said, rules)}


def test_davis_leaves_out_the_first_and_the_last_annotated_frame() -> None:
    truth = {frame: {"1": square(20)} for frame in range(6)}
    found = {frame: {"1": square(20 if 0 < frame < 5 else 60)} for frame in range(6)}
    row = judged(truth, found)["1"]
    assert row["frames"] == (1, 2, 3, 4)
    assert row["j"].tolist() == row["f"].tolist() == [1.0] * 4


def test_youtube_vos_leaves_out_each_objects_first_frame_and_those_before() -> None:
    late = {frame: {"1": square(20)} | ({"2": square(60)} if frame >= 10 else {}) for frame in range(0, 25, 5)}
    rows = judged(late, late, "youtube-vos")
    assert rows["1"]["frames"] == (5, 10, 15, 20)
    assert rows["2"]["frames"] == (15, 20)


def test_a_frame_without_a_row_counts_nothing_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    truth = {frame: {"1": square(20)} for frame in range(6)}
    truth[3] = {"1": square(0) * 0}
    row = judged(truth, {frame: truth[frame] for frame in (0, 1, 4)})["1"]
    assert row["j"].tolist() == row["f"].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert row["missing"] == (2, 3)
    with caplog.at_level(logging.WARNING):
        warn_missing([ObjectScores(**row, category="", seen=None)])
    assert "sequence dog, object 1: no row for 2 of 4 judged frames (2, 3); they count 0" in caplog.text


def test_before_an_object_is_first_seen_no_row_is_right() -> None:
    truth = {frame: {"1": square(20)} | ({"2": square(60)} if frame >= 3 else {}) for frame in range(6)}
    found = {frame: truth[frame] for frame in range(6)}
    row = judged(truth, found)["2"]
    assert row["j"].tolist() == [1.0] * 4
    assert row["missing"] == ()
    early = {frame: {"1": square(20), "2": square(60)} for frame in range(6)}
    assert judged(truth, early)["2"]["j"].tolist() == [0.0, 0.0, 1.0, 1.0]


def test_keeping_the_first_mask_is_judged_beside() -> None:
    truth = {frame: {"1": square(20 + 10 * frame)} for frame in range(4)}
    row = judged(truth, truth)["1"]
    kept = [region_j(square(20), square(20 + 10 * frame)) for frame in (1, 2)]
    assert row["still_j"] == pytest.approx(np.mean(kept))


def test_presence_decides_before_the_score() -> None:
    masks = {"1": (square(20).astype(bool), (0.4, 0.9)), "2": (square(30).astype(bool), (0.5, 0.1))}
    assert (fuse(masks)["2"] == masks["2"][0]).all() and fuse(masks)["1"].sum() == 200


@pytest.mark.parametrize(("scores", "wins"), [({"1": 0.9, "2": 0.4}, "1"), ({"1": 0.2, "2": 0.4}, "2"), ({}, "1")])
def test_a_pixel_that_two_objects_claim_goes_to_the_higher_score(scores: dict[str, float], wins: str) -> None:
    masks = {"2": square(30).astype(bool), "1": square(20).astype(bool)}
    fused = fuse({one: (mask, (0.0, scores.get(one, 0.5))) for one, mask in masks.items()})
    loses = "2" if wins == "1" else "1"
    assert (fused[wins] == masks[wins]).all()
    assert (fused[loses] == (masks[loses] & ~masks[wins])).all()
    truth = {frame: {"1": square(20), "2": square(40)} for frame in range(3)}
    found = {frame: {"1": square(20), "2": square(30)} for frame in range(3)}
    first = judged(truth, found, scores=scores)["1"]
    assert first["j"].tolist() == ([1.0] if wins == "1" else [0.5])


def test_scores_of_two_objects_are_those_of_vos_benchmark(tmp_path: Path) -> None:
    """Masks with overlaps go through the tables; the judge gets them as one picture of labels a frame."""
    judge = pytest.importorskip("vos_benchmark.evaluator", reason="needs vos-benchmark: make setup installs it")
    rng = np.random.default_rng(0)
    truth: dict[int, dict[str, np.ndarray]] = {}
    found: dict[int, dict[str, np.ndarray]] = {}
    evaluator = judge.Evaluator()
    for frame in range(12):
        truth[frame] = {"1": square(10 + 2 * frame), "2": square(10 + 2 * frame + 20, 24)}
        found[frame] = {
            one: square(10 + 2 * frame + 20 * (one == "2") + int(rng.integers(-6, 7)), int(rng.integers(18, 27)))
            for one in ("1", "2")
        }
        if 0 < frame < 11:
            labels, said = np.zeros((60, 100), np.uint8), np.zeros((60, 100), np.uint8)
            # The first object has the higher score, so it is painted last.
            for one in ("2", "1"):
                labels[truth[frame][one] > 0] = int(one)
                said[found[frame][one] > 0] = int(one)
            evaluator.feed_frame(said, labels)
    write_truth(tmp_path / "truth", {"pair": truth})
    write_output(tmp_path / "out", {"pair": found}, {"1": 0.9, "2": 0.6})
    judged_rows = judge_vos(open_run(str(tmp_path / "out")), open_truth(str(tmp_path / "truth")))
    rows = {row.object_id: row for row in judged_rows}
    j, f = evaluator.conclude()
    for one in ("1", "2"):
        assert 100 * rows[one].j.mean() == pytest.approx(j[int(one)], abs=1e-6)
        assert 100 * rows[one].f.mean() == pytest.approx(f[int(one)], abs=1e-6)


def test_one_object_each_is_the_same_whatever_its_id(tmp_path: Path) -> None:
    truth = {frame: {"7": square(20)} for frame in range(5)}
    write_truth(tmp_path / "truth", {"dog": truth, "cat": truth})
    write_output(tmp_path / "out", {"dog": {frame: {"0": square(22)} for frame in range(5)}})
    rows = list(judge_vos(open_run(str(tmp_path / "out")), open_truth(str(tmp_path / "truth"))))
    assert [(row.sequence, row.object_id) for row in rows] == [("cat", "7"), ("dog", "7")]
    assert rows[0].missing == rows[0].frames == (1, 2, 3)  # the run has no such clip
    assert rows[1].j == pytest.approx([region_j(square(22), square(20))] * 3)
    assert rows[1].f == pytest.approx([boundary_f(square(22), square(20))] * 3)
    table = object_table(rows).to_pylist()
    assert [row["missing"] for row in table] == [3, 0]
    assert table[1]["j_mean"] == pytest.approx(statistics(rows[1].j).mean)
    assert frame_table(rows).filter(frame_table(rows)["missing"]).num_rows == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv", "category,seen\ndog,1\nape,0\n"),
        ("c.jsonl", '{"category": "dog", "seen": true}\n{"category": "ape", "seen": false}\n'),
        ("c.csv", "sequence,object_id,seen\na,01,true\na,02,false\n"),
    ],
)
def test_seen_and_unseen_means(tmp_path: Path, name: str, text: str) -> None:
    truth = {frame: {"01": square(20), "02": square(60)} for frame in range(5)}
    found = {frame: {"01": square(20), "02": square(70)} for frame in range(5)}
    write_truth(tmp_path / "truth", {"a": truth}, categories={"01": "dog", "02": "ape"})
    write_output(tmp_path / "out", {"a": found})
    (tmp_path / name).write_text(text)
    true = open_truth(str(tmp_path / "truth"))
    seen = seen_objects(str(tmp_path / name), true)
    assert seen == {("a", "01"): True, ("a", "02"): False}
    rows = means(object_table(list(judge_vos(open_run(str(tmp_path / "out")), true, "youtube-vos", seen))))
    assert (rows["seen"]["j_mean"], rows["seen"]["objects"]) == (1.0, 1)
    assert rows["unseen"]["j_mean"] == pytest.approx(1 / 3)
    unseen = rows["unseen"]["j_mean"] + rows["unseen"]["f_mean"]
    assert rows["overall"]["j_and_f"] == pytest.approx((2 + unseen) / 4)


def test_unusable_truth_is_named(tmp_path: Path) -> None:
    masks = {frame: {"1": square(20)} for frame in range(4)}
    with pytest.raises(UsageError, match=r"holds neither masks\.parquet"):
        open_truth(str(tmp_path))
    write_truth(tmp_path / "truth", {"dog": masks})
    with pytest.raises(UsageError, match="--split test: .* has val"):
        open_truth(str(tmp_path / "truth"), split="test")
    with pytest.raises(UsageError, match="--names cow: not in"):
        open_truth(str(tmp_path / "truth"), names=("cow",))
    write_output(tmp_path / "out", {"wolf": masks})
    with pytest.raises(UsageError, match="its clips are called wolf, the sequences dog"):
        list(judge_vos(open_run(str(tmp_path / "out")), open_truth(str(tmp_path / "truth"))))


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    truth = {frame: {"1": square(20)} for frame in range(4)}
    found = {frame: {"1": square(20, size=(50, 100))} for frame in range(4)}
    with pytest.raises(UsageError, match=r"sequence dog, frame 1, object 1: .*\[50, 100\].*\[60, 100\]"):
        judged(truth, found)


@pytest.mark.parametrize("objects", [("1",), ("1", "2")])
def test_masks_of_the_truth_of_two_sizes_are_named(objects: tuple[str, ...]) -> None:
    sizes = {2: (50, 100)}
    truth = {frame: {one: square(20, size=sizes.get(frame, (60, 100))) for one in objects} for frame in range(4)}
    with pytest.raises(UsageError, match=r"sequence dog, frame 2, object 1: the truth's mask is of \[50, 100\]"):
        judged(truth, truth)


def test_masks_of_one_frame_of_two_sizes_are_named() -> None:
    truth = {frame: {"1": square(20), "2": square(60)} for frame in range(4)}
    found = {frame: {"1": square(20), "2": square(60, size=(50, 100))} for frame in range(4)}
    with pytest.raises(UsageError, match=r"sequence dog, frame 1, object 2: the run's mask is of \[50, 100\]"):
        judged(truth, found)


@pytest.mark.parametrize("counts", ["ü", "zzzz", ""], ids=["not ASCII", "too long", "empty"])
@pytest.mark.parametrize("whose", ["truth", "run"])
def test_a_mask_that_is_no_rle_is_named(counts: str, whose: str) -> None:
    good = {frame: {"1": rle(square(20))} for frame in range(4)}
    bad = good | {2: {"1": {"size": [60, 100], "counts": counts}}}
    found = {frame: {"1": RunMask(objects["1"], 0.5)} for frame, objects in (bad if whose == "run" else good).items()}
    with pytest.raises(UsageError, match=f"sequence dog, frame 2, object 1: the {whose}'s mask cannot be read"):
        judge_sequence("dog", bad if whose == "truth" else good, found, "davis")


def test_a_first_mask_without_a_size_is_named() -> None:
    truth = {frame: {"1": rle(square(20))} for frame in range(4)} | {0: {"1": {"size": [60], "counts": "PP1"}}}
    with pytest.raises(UsageError, match="sequence dog, frame 0, object 1: the truth's mask cannot be read"):
        judge_sequence("dog", truth, {}, "davis")


def test_a_category_that_the_list_has_not_is_named(tmp_path: Path) -> None:
    write_truth(tmp_path / "truth", {"a": {frame: {"1": square(20)} for frame in range(4)}}, categories={"1": "dog"})
    (tmp_path / "c.csv").write_text("category,seen\ncat,1\n")
    with pytest.raises(UsageError, match="says nothing of category 'dog'"):
        seen_objects(str(tmp_path / "c.csv"), open_truth(str(tmp_path / "truth")))
    (tmp_path / "d.csv").write_text("name,seen\ncat,1\n")
    with pytest.raises(UsageError, match="expected the columns category, seen"):
        seen_objects(str(tmp_path / "d.csv"), open_truth(str(tmp_path / "truth")))
