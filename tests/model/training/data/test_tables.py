"""The tables of a training set: what is read, and what is said of unusable ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from av.stream import Disposition

from model.training.config import TrainingConfig
from model.training.data.batches import BatchDataset
from model.training.data.pairs import PairRules, PairSampler
from model.training.data.sources import all_pictures, find_sets, sequence_frames, sequence_pictures
from model.training.data.tables import TableWriter, encode_rle
from model.training.data.training_store import Limits, TrainingStore, write_store
from tests.model.training.pictures import moving_disk, small_set, write_sequence


def square(left: int = 20) -> np.ndarray:
    mask = np.zeros((120, 160), np.uint8)
    mask[30:80, left : left + 50] = 1
    return mask


def boxes_set(folder: Path) -> Path:
    """A set of boxes alone: the moving disk's frames without their masks."""
    small_set(folder, names=("red",))
    rows = pq.read_table(folder / "masks.parquet").to_pylist()
    for row in rows:
        row["mask"] = None
        row["box"] = {"x": 28.0 + 4 * row["frame_index"], "y": 44.0, "w": 45.0, "h": 33.0}
    path = folder / "masks.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    return folder


def test_sets_are_found_in_and_below_a_folder(tmp_path: Path) -> None:
    small_set(tmp_path / "data" / "b")
    small_set(tmp_path / "data" / "a")
    still = pa.table({"image": ["x.jpg"], "instance": [0], "mask": [encode_rle(square())]})
    (tmp_path / "data" / "stills").mkdir()
    pq.write_table(still, tmp_path / "data" / "stills" / "instances.parquet")
    assert [one.name for one in find_sets([tmp_path / "data"])] == ["a", "b", "stills"]
    with pytest.raises(FileNotFoundError, match="nothing: no sequences.parquet"):
        (tmp_path / "nothing").mkdir()
        find_sets([tmp_path / "nothing"])
    with pytest.raises(ValueError, match="more than one training set is called a"):
        find_sets([tmp_path / "data", tmp_path / "data" / "a"])


def test_the_same_name_in_two_sets_is_two_groups(tmp_path: Path) -> None:
    sets = find_sets([small_set(tmp_path / "one"), small_set(tmp_path / "two")])
    write_store(all_pictures(sets), tmp_path / "store")
    groups = {track.group for track in TrainingStore(tmp_path / "store").tracks()}
    assert groups == {"red", "blue", "still", "two/red", "two/blue", "two/still"}
    sampler = PairSampler(TrainingStore(tmp_path / "store"), PairRules(), frozenset({"red"}))
    assert {track.group for track in sampler.videos} == {"blue", "two/blue"}


def test_tables_may_be_folders_of_parts(tmp_path: Path) -> None:
    small_set(tmp_path)
    for name in ("sequences", "masks"):
        table = pq.read_table(tmp_path / f"{name}.parquet")
        (tmp_path / name).mkdir()
        pq.write_table(table.slice(0, 2), tmp_path / name / "part-1.parquet")
        pq.write_table(table.slice(2), tmp_path / name / "part-2.parquet")
        (tmp_path / f"{name}.parquet").unlink()
    assert len(list(sequence_pictures(tmp_path))) == 11


def test_a_damaged_part_is_named_and_other_files_are_passed_over(tmp_path: Path) -> None:
    small_set(tmp_path)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks.parquet").rename(tmp_path / "masks" / "part-1.parquet")
    (tmp_path / "masks" / "README").write_text("two parts")
    (tmp_path / "masks" / "._part-1.parquet").write_bytes(b"of a Mac")
    (tmp_path / "masks" / "_temporary" / "0").mkdir(parents=True)
    shutil.copy(tmp_path / "masks" / "part-1.parquet", tmp_path / "masks" / "_temporary" / "0" / "part.parquet")
    assert len(list(sequence_pictures(tmp_path))) == 11
    (tmp_path / "masks" / "part-2.parquet").write_bytes((tmp_path / "masks" / "part-1.parquet").read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"masks/part-2\.parquet: not a readable Parquet file"):
        list(sequence_pictures(tmp_path))
    for part in (tmp_path / "masks").glob("part*.parquet"):
        part.unlink()
    with pytest.raises(FileNotFoundError, match="masks: holds no Parquet file"):
        list(sequence_pictures(tmp_path))


def test_a_split_that_no_set_has_is_named(tmp_path: Path) -> None:
    sets = find_sets([small_set(tmp_path / "one"), small_set(tmp_path / "two")])
    with pytest.raises(ValueError, match="no trian sequence in .*one, .*two"):
        list(all_pictures(sets, split="trian"))
    for name in ("sequences", "masks"):
        table = pq.read_table(tmp_path / "two" / f"{name}.parquet")
        column = pa.array(["val"] * len(table), pa.string())
        place = table.schema.get_field_index("split")
        pq.write_table(table.set_column(place, "split", column), tmp_path / "two" / f"{name}.parquet")
    assert {one.group for one in all_pictures(sets, split="val")} == {"red", "blue", "still"}


def test_a_store_without_an_object_is_refused(tmp_path: Path) -> None:
    small_set(tmp_path / "set")
    pictures = list(sequence_pictures(tmp_path / "set"))
    with pytest.raises(ValueError, match="store: none of 11 objects is fit for training"):
        write_store(pictures, tmp_path / "store", Limits(shortest_side=1000))
    with pytest.raises(FileNotFoundError, match="no training store"):
        TrainingStore(tmp_path / "store")


def test_a_stride_thins_videos_and_leaves_stills(tmp_path: Path) -> None:
    frames = [(one.group, one.frame) for one in sequence_pictures(small_set(tmp_path), stride=3)]
    assert frames == [("blue", 0), ("blue", 3), ("red", 0), ("red", 3), ("still", 0)]


def test_of_several_video_streams_the_one_that_is_tracked_is_read(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "v.mkv"), "w") as container:
        streams = [container.add_stream("mpeg4", rate=10) for _ in range(2)]
        for stream, (width, height) in zip(streams, ((64, 48), (128, 96)), strict=True):
            stream.width, stream.height = width, height
            stream.disposition = Disposition.default if width == 128 else Disposition(0)
        for stream in streams:
            pixels = np.full((stream.height, stream.width, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
    [(_, pixels)] = sequence_frames(tmp_path, {"sequence": "v", "video": "v.mkv"}, [0])
    assert pixels.shape == (96, 128, 3)


def test_a_video_file_is_read_upright_up_to_the_last_frame_wanted(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 48
        for level in range(0, 250, 50):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    row = {"sequence": "v", "video": "v.mp4"}
    found = list(sequence_frames(tmp_path, row, [3, 1]))
    assert [index for index, _ in found] == [1, 3]
    assert [int(pixels.mean()) for _, pixels in found] == pytest.approx([50, 150], abs=3)
    with pytest.raises(ValueError, match="v.mp4: sequence v ends before frame 9"):
        list(sequence_frames(tmp_path, row, [9]))
    (tmp_path / "v.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="v.mp4: not a readable video"):
        list(sequence_frames(tmp_path, row, [0]))


@pytest.mark.parametrize(
    ("sequence", "masks", "message"),
    [
        ({"images": None}, {}, "sequence s has no video and no images"),
        ({}, {"mask": None, "box": None}, "masks.parquet: sequence s, frame 0, object 1 has neither mask nor box"),
        ({}, {"mask": encode_rle(square()[:50])}, r"sequence s, frame 0 is \[120, 160\].* its mask \[50, 160\]"),
        ({}, {"mask": {"size": [60, 100], "counts": ""}}, "sequence s, frame 0: the runs of a mask"),
        ({}, {"mask": {"size": [60], "counts": "PP1"}}, "sequence s, frame 0: "),
        ({}, {"mask": {"size": None, "counts": "PP1"}}, "sequence s, frame 0: a mask is no COCO RLE"),
        ({}, {"frame_index": 4}, "sequence s has 1 images and labels of frame 4"),
        ({"images": ["none.png"]}, {}, "none.png: not a readable image"),
    ],
)
def test_unusable_rows_are_named(tmp_path: Path, sequence: dict, masks: dict, message: str) -> None:
    small_set(tmp_path, names=("red",))
    row: dict = {"sequence": "s", "split": "train", "frame_index": 0, "object_id": "1", "mask": encode_rle(square())}
    with TableWriter(tmp_path) as tables:
        tables.sequence(**{"sequence": "s", "split": "train", "images": ["red/00000.png"], **sequence})
        tables.masks([{**row, **masks}])
    with pytest.raises(ValueError, match=message):
        list(sequence_pictures(tmp_path))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    small_set(tmp_path)
    table = pq.read_table(tmp_path / "masks.parquet")
    pq.write_table(table.drop_columns(["object_id"]), tmp_path / "masks.parquet")
    with pytest.raises(ValueError, match=r"masks\.parquet: has no column 'object_id'; it has sequence, "):
        list(sequence_pictures(tmp_path))


def test_an_error_leaves_no_table_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), TableWriter(tmp_path) as tables:
        write_sequence(tables, tmp_path, "red", moving_disk("red", (1, 2, 3), 2, 0))
        raise RuntimeError
    assert list(tmp_path.glob("*.parquet*")) == []
    assert list(tmp_path.glob(".*")) == []


def test_large_pictures_are_reduced_with_what_is_on_them(tmp_path: Path) -> None:
    small_set(tmp_path / "set")
    write_store(sequence_pictures(tmp_path / "set"), tmp_path / "store", longest_side=140)
    store = TrainingStore(tmp_path / "store")
    red = next(track for track in store.tracks() if track.group == "red")
    instance = int(red.instances[0])
    assert store.picture(store.picture_of(instance)).shape == (105, 140, 3)
    assert store.box(instance) == pytest.approx(0.875 * np.array([28, 44, 45, 33]), abs=1)


def test_boxes_train_score_and_box_and_no_mask(tmp_path: Path) -> None:
    write_store(sequence_pictures(boxes_set(tmp_path / "set")), tmp_path / "store")
    store = TrainingStore(tmp_path / "store")
    config = TrainingConfig(pairs=PairRules(video_share=1.0, search_shift=16), held_out=("still",), batch_size=4)
    batch = BatchDataset(tmp_path / "store", config, length=1)[0]
    assert (batch.classes == 1).any()
    assert len(batch.cells) == len(batch.base) == len(batch.fine) == 0
    pair = PairSampler(store, config.pairs, frozenset({"still"})).draw(np.random.default_rng(0))
    assert not pair.masked
    rows, columns = np.flatnonzero(pair.mask.any(1)), np.flatnonzero(pair.mask.any(0))
    centre = [(columns[0] + columns[-1] + 1) / 2 - 127.5, (rows[0] + rows[-1] + 1) / 2 - 127.5]
    assert centre == pytest.approx(pair.box[:2], abs=1)
    with pytest.raises(ValueError, match="no object left"):
        PairSampler(store, PairRules(), masked_only=True)
