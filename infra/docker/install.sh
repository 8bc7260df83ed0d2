#!/bin/sh
# The image's Python environment: what pyproject.toml needs at the versions of constraints.txt.
#
#   sh infra/docker/install.sh /opt/venv 'torch==2.13.0+cpu --extra-index-url <wheel index>'
#
# Runs outside of an image too, in the checkout; PIP_DRY_RUN=1 resolves everything and installs nothing.
set -eu
venv=$1
torch=${2:-torch==2.13.0}

python3 -m venv "$venv"
python3 - > "$venv/requirements.txt" <<'PYTHON'
import tomllib

with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["dependencies"], sep="\n")
PYTHON
grep -v '^torch==' constraints.txt > "$venv/constraints.txt"
# The words of $torch are arguments of their own.
# shellcheck disable=SC2086
"$venv/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --progress-bar off \
    -c "$venv/constraints.txt" $torch -r "$venv/requirements.txt"
