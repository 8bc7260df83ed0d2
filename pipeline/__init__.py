"""The service around the model: manifests, storage, decoding, tables and the run, on Ray Data.

`from pipeline import open_run` reads the output of a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.reading import open_run

__all__ = ["open_run"]


def __getattr__(name: str) -> Any:
    # On first use: whoever imports another module of this package does not pay for pyarrow's datasets.
    if name == "open_run":
        from pipeline.reading import open_run

        return open_run
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
