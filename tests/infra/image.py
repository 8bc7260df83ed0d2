"""Build an image of infra/docker/Dockerfile, and run commands in it as a closed cluster would.

docker and podman build on the base that the Dockerfile names. Where there is buildah alone, `debootstrap` makes a base
of the same Debian and tags it so. Containers have no network but loopback, a root that cannot be written, 64 MB of
/dev/shm, and the user that the image names.

SIAMMASK_IMAGE_BUILD has more options for the build, such as `--secret id=pip.conf,src=…`; SIAMMASK_DEBIAN_MIRROR the
mirror that a base is made from.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"
BASE = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)[0]
BASE_PACKAGES = "ca-certificates,python3,python3-venv"
MIRROR = os.environ.get("SIAMMASK_DEBIAN_MIRROR", "http://deb.debian.org/debian")
TAG = "siammask-batch:test-cpu"
# What an engine does, in namespaces that end with the command: $1 is the root, $2 the user, the rest what is run in it.
CONFINE = """
set -eu
root=$1 user=$2; shift 2
ip link set lo up
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm"
mount -t tmpfs -o size=64m,mode=1777 shm "$root/dev/shm"
[ "$TEMPORARY" = no ] || mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -o remount,bind,ro "$root"
cd "$root"
exec chroot --userspec="$user:$user" "$root" "$@"
"""


@cache
def engine() -> str | None:
    """The engine that can build here."""
    for name in ("docker", "podman"):
        if shutil.which(name) and not subprocess.run([name, "info"], capture_output=True, timeout=60).returncode:
            return name
    tools = ("buildah", "debootstrap", "unshare", "ip")
    return "buildah" if os.geteuid() == 0 and all(map(shutil.which, tools)) else None


@dataclass(frozen=True, slots=True)
class Image:
    """A built image.

    Attributes:
        engine: the command line that runs it: `docker run …`, or empty where there is only buildah.
        root: the image's files, where there is only buildah.
        environment: its variables.
        user: its user.
    """

    engine: tuple[str, ...]
    root: Path | None
    environment: dict[str, str]
    user: str

    def run(
        self, *command: str, environment: dict[str, str] | None = None, temporary: bool = True, timeout: int = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the image.

        Args:
            environment: more variables.
            temporary: whether there is a folder /tmp that can be written.
            timeout: seconds.
        """
        variables = {**self.environment, **(environment or {})}
        if self.root is None:
            options = [word for key, value in variables.items() for word in ("--env", f"{key}={value}")]
            whole = [*self.engine, *options, *(("--tmpfs", "/tmp:mode=1777") if temporary else ()), TAG, *command]
        else:
            inside = ["/usr/bin/env", "--ignore-environment", "--chdir=/opt/siammask-batch", "HOME=/home/ray"]
            inside += [f"{key}={value}" for key, value in variables.items()]
            whole = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "bash", "-c", CONFINE, "confine"]
            whole += [str(self.root), self.user, *inside, *command]
        return subprocess.run(
            whole,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TEMPORARY": "yes" if temporary else "no"},
        )


@contextlib.contextmanager
def built(name: str, folder: Path) -> Iterator[Image]:
    """The `cpu` image, built with an engine; what buildah keeps is in the folder, and goes with the block."""
    options = ["--file", str(DOCKERFILE), "--target", "cpu", "--tag", TAG]
    options += [] if name == "docker" else ["--ignorefile", f"{DOCKERFILE}.dockerignore"]
    options += shlex.split(os.environ.get("SIAMMASK_IMAGE_BUILD", ""))
    if name != "buildah":
        subprocess.run([name, "build", *options, str(ROOT)], check=True, timeout=3000)
        run = (name, "run", "--rm", "--network=none", "--read-only", "--shm-size=64m")
        yield Image(run if name == "docker" else (*run, "--read-only-tmpfs=false"), None, {}, "")
        return
    buildah = Buildah(folder)
    try:
        buildah.make_base(folder / "base")
        buildah("build", "--isolation", "chroot", *options, str(ROOT))
        container = buildah("from", "--pull-never", TAG)
        settings = json.loads(buildah("inspect", container))["OCIv1"]["config"]
        environment = dict(variable.split("=", 1) for variable in settings["Env"])
        yield Image((), Path(buildah("mount", container)), environment, settings["User"])
    finally:
        buildah("rm", "--all")
        buildah("rmi", "--all", "--force")


class Buildah:
    """buildah with a store of its own in a folder; calling it runs one of its commands and gives what it prints."""

    def __init__(self, folder: Path) -> None:
        self._command = ("buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run"))

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [*self._command, *words], text=True, timeout=3000, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        if done.returncode:
            raise RuntimeError(f"buildah {words[0]} ended with {done.returncode}: {done.stdout[-2000:]}")
        return done.stdout.strip()

    def make_base(self, folder: Path) -> None:
        """Make what the Dockerfile names as its base: the same Debian with its Python."""
        release = BASE.rsplit("-", 1)[-1]
        command = ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", release, str(folder), MIRROR]
        subprocess.run(command, check=True, timeout=1500, stdout=subprocess.DEVNULL)
        container = self("from", "scratch")
        self("add", "-q", container, str(folder), "/")
        shutil.rmtree(folder)
        self("commit", "-q", "--rm", container, f"docker.io/library/{BASE}")
