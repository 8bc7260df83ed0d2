"""Whether torch can use a GPU of this machine, and if not, why and what to install."""

from __future__ import annotations

import re
from pathlib import Path

import torch

DRIVERS = {13: 580, 12: 525, 11: 450}
"""The oldest driver for each major version of CUDA (NVIDIA, CUDA compatibility)."""
LEAST_CAPABILITY = (7, 5)
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_BUILDS = "docs/install.md says which build goes with which driver and GPU"


def cuda_fault(device: torch.device | str = "cuda") -> str | None:
    """Say in one sentence why torch cannot compute on a GPU, and what to install; None where it can.

    Looks at the build, the driver and the GPU's compute capability, and computes one convolution.
    """
    build = f"torch {torch.__version__}"
    if torch.version.cuda is None:
        return f"{build} is a build without CUDA: install one with CUDA there ({_BUILDS})"
    try:
        torch.cuda.init()
        name, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    except Exception as error:
        return (
            f"{build} for CUDA {torch.version.cuda} cannot use the GPU with {_driver()} ({_first_line(error)}): "
            f"install NVIDIA's driver {_needed_driver()} or newer there, or another build of torch ({_BUILDS})"
        )
    if capability < (least := _least_capability()):
        return (
            f"the {name} has compute capability {_dotted(capability)}, and {build} for CUDA {torch.version.cuda} needs "
            f"{_dotted(least)} or more: take another GPU, or another build of torch ({_BUILDS})"
        )
    try:
        wrong = not _convolves(device)
    except Exception as error:
        reason = _first_line(error)
        return f"{build} cannot compute a convolution on the {name} ({reason}): install torch anew ({_BUILDS})"
    if wrong:
        return f"{build} computes a wrong convolution on the {name}: have the card looked at, or install torch anew"
    return None


def _convolves(device: torch.device | str) -> bool:
    """Whether a convolution, of the size of the network's first, gives what the CPU gives, to TF32's precision."""
    generator = torch.Generator().manual_seed(0)
    image, weight = (torch.randn(shape, generator=generator) for shape in ((1, 3, 127, 127), (64, 3, 7, 7)))
    with torch.inference_mode():
        wanted = torch.nn.functional.conv2d(image, weight, stride=2)
        made = torch.nn.functional.conv2d(image.to(device), weight.to(device), stride=2).cpu()
    return bool(torch.allclose(made, wanted, atol=0.3, rtol=0.01))


def _driver() -> str:
    """The driver of this machine, in words."""
    try:
        version = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", _DRIVER_FILE.read_text())
    except OSError:
        return "no NVIDIA driver"
    return f"driver {version[1]}" if version else "a driver of unknown version"


def _needed_driver() -> int:
    major = int(str(torch.version.cuda).partition(".")[0])
    return DRIVERS.get(major, max(DRIVERS.values()))


def _least_capability() -> tuple[int, int]:
    """The oldest capability that this build has code for."""
    built = [re.fullmatch(r"(?:sm|compute)_(\d+)(\d)[af]?", name) for name in torch.cuda.get_arch_list()]
    return min(((int(match[1]), int(match[2])) for match in built if match), default=LEAST_CAPABILITY)


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
