"""The machine that a figure was measured on, in one line."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import psutil
import torch


def describe(device: str) -> str:
    """Processor, cores, memory, and for `cuda` the GPU; with the versions of Python and torch."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = psutil.virtual_memory().total / 2**30
    parts = [names[0] if names else platform.machine(), f"{psutil.cpu_count()} CPUs", f"{memory:.0f} GiB"]
    if device == "cuda":
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"Python {platform.python_version()}", f"torch {torch.__version__}"])


def gpu_state() -> str:
    """Driver, clocks now and at most, power and memory of the first GPU, as `nvidia-smi` has them."""
    asked = "driver_version,clocks.sm,clocks.max.sm,power.draw,power.limit,temperature.gpu,memory.total"
    command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return "nvidia-smi says nothing of driver and clocks"
    driver, clock, most, power, limit, warmth, memory = (part.strip() for part in done.stdout.split(","))
    return f"driver {driver}, {clock} of {most}, {power} of {limit}, {warmth} C, {memory}"
