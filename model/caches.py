"""Places for the caches of libraries, where those that they choose themselves cannot be written.

A container with a read-only root has neither a home nor a checkout that can be. Numba then refuses to compile what is
to be cached, and matplotlib warns and begins anew in every process.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def cache_folder(name: str) -> Path | None:
    """This user's own folder of this name in the temporary folder; None where it cannot be had.

    What lies in it is run, so that one that somebody else made, or may write, is not used.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"siammask-{name}-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    closed = stat.S_ISDIR(status.st_mode) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return folder if closed and status.st_uid == os.getuid() and os.access(folder, os.W_OK) else None


def compiled(*signatures: str, reorders: bool = False) -> Callable[[Function], Function]:
    """A decorator: the function compiled by Numba, run without Python's lock, and cached on disk where that can be.

    A division by zero gives infinity or NaN in it, as NumPy's does.

    Args:
        signatures: of the function, to compile it when it is decorated; else with its first call.
        reorders: whether its sums may be added up in another order, several parts at a time.
    """
    numba: Any = import_module("numba")  # whose types do not know a list of arguments, nor its settings

    wanted = [list(signatures)] if signatures else []
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "nsz"} if reorders else False}

    def decorate(function: Function) -> Function:
        places: list[Path | None] = [None, cache_folder("kernels")]
        for folder in places:
            if folder is not None:
                numba.config.CACHE_DIR = str(folder)
            try:
                return numba.njit(*wanted, cache=True, **options)(function)
            except RuntimeError as error:
                if "no locator available" not in str(error):
                    raise
        return numba.njit(*wanted, **options)(function)

    return decorate


def place_matplotlib() -> None:
    """Give matplotlib a folder for its settings and its list of fonts; call this before importing it."""
    own = _may_be_made("XDG_CONFIG_HOME", ".config") and _may_be_made("XDG_CACHE_HOME", ".cache")
    if own or "MPLCONFIGDIR" in os.environ:
        return
    folder = cache_folder("matplotlib")
    if folder is not None:
        os.environ["MPLCONFIGDIR"] = str(folder)


def _may_be_made(variable: str, default: str) -> bool:
    """Whether matplotlib can have its folder in the one that a variable names, by default one of the home."""
    try:
        parent = Path(os.environ.get(variable) or Path.home() / default) / "matplotlib"
    except RuntimeError:  # no home
        return False
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    return os.access(parent, os.W_OK)
