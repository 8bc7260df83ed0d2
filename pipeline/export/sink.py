"""Where an export goes: files below one folder, local or in object storage, and JSON written piece by piece."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pipeline import storage

_WRITERS = 8


class Sink:
    """Files below a folder.

    Args:
        output: URI of the folder.

    Usable as a context manager, which removes the local files that wait.
    """

    def __init__(self, output: str) -> None:
        self.output = output
        self.scratch = Path(tempfile.mkdtemp(prefix="siammask-export-"))
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="export")

    def put(self, files: Mapping[str, bytes]) -> None:
        """Writes files by name, several at once."""
        for _ in self._pool.map(lambda item: storage.write_bytes(self._uri(item[0]), item[1]), files.items()):
            pass

    def put_file(self, name: str, path: Path) -> None:
        """Writes a local file's content."""
        storage.upload_file(path, self._uri(name))

    def remove(self, names: Iterable[str]) -> None:
        """Removes files that were written."""
        storage.delete_many(map(self._uri, names))

    def _uri(self, name: str) -> str:
        return storage.join(self.output, *name.split("/"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        shutil.rmtree(self.scratch, ignore_errors=True)


class JsonArrays:
    """A JSON object of a few fixed values and of arrays that grow item by item, on disk and not in memory.

    Args:
        sink: where it goes when it is closed.
        name: its name there.
        fixed: values that are known from the start.
        arrays: names of the arrays. Of a single one without a name ("") the document is the array itself.
    """

    def __init__(self, sink: Sink, name: str, fixed: Mapping[str, Any], arrays: Sequence[str]) -> None:
        self._sink, self._name, self._fixed = sink, name, fixed
        self._files: dict[str, IO[str]] = {
            array: open(self._scratch(f"-{array}.part"), "w+", encoding="utf-8")  # noqa: SIM115
            for array in arrays
        }

    def add(self, array: str, item: Mapping[str, Any] | str) -> None:
        """Appends an item, a value or its JSON text."""
        file = self._files[array]
        file.write(",\n" if file.tell() else "\n")
        file.write(item if isinstance(item, str) else json.dumps(item))

    def close(self) -> None:
        """Puts the document together and writes it."""
        path = self._scratch("")
        with open(path, "w", encoding="utf-8") as whole:
            if "" not in self._files:
                whole.write("{" + "".join(f"{json.dumps(name)}: {json.dumps(v)},\n" for name, v in self._fixed.items()))
            for number, (array, file) in enumerate(self._files.items()):
                whole.write((",\n" if number else "") + (f"{json.dumps(array)}: [" if array else "["))
                file.seek(0)
                shutil.copyfileobj(file, whole)
                file.close()
                whole.write("]")
            whole.write("\n" if "" in self._files else "}\n")
        self._sink.put_file(self._name, path)
        path.unlink()

    def _scratch(self, ending: str) -> Path:
        return self._sink.scratch / f"{self._name.replace('/', '-')}{ending}"
