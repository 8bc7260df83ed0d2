"""Errors of a device, told apart by what helps against them. It imports no torch."""

from __future__ import annotations

_MEMORY = (
    "out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)
_LASTING = ("CUDA error", "CUDA driver error", "CUDNN_STATUS_", "CUBLAS_STATUS_", "cuDNN error")


class DeviceLost(RuntimeError):
    """The device has failed, or stopped answering: nothing works on it any more in this process.

    It says nothing of the frame in work, which another process can track.
    """


def out_of_memory(error: BaseException) -> bool:
    """Whether the device had too little memory for what was asked: less of it may work, or later."""
    return _named(error, "OutOfMemoryError") or (_of_device(error) and any(text in str(error) for text in _MEMORY))


def device_lost(error: BaseException) -> bool:
    """Whether no work can follow on this device in this process: after an error of CUDA its context is gone."""
    return isinstance(error, DeviceLost) or (_of_device(error) and not out_of_memory(error))


def _of_device(error: BaseException) -> bool:
    return _named(error, "AcceleratorError") or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _LASTING)
    )


def _named(error: BaseException, name: str) -> bool:
    """Whether it is an error of torch of this name, asked without torch."""
    return any(kind.__name__ == name and kind.__module__.split(".")[0] == "torch" for kind in type(error).__mro__)
