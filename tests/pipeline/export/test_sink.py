"""JSON written piece by piece."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.export.sink import JsonArrays, Sink


def test_json_arrays_are_valid_when_empty(tmp_path: Path) -> None:
    with Sink(str(tmp_path / "out")) as sink:
        JsonArrays(sink, "a.json", {"info": {"x": "ä"}}, ["one", "two"]).close()
        JsonArrays(sink, "b.json", {}, [""]).close()
    assert json.loads((tmp_path / "out" / "a.json").read_text()) == {"info": {"x": "ä"}, "one": [], "two": []}
    assert json.loads((tmp_path / "out" / "b.json").read_text()) == []
