#!/bin/sh
# The image's Python environment: what pyproject.toml needs at the versions of constraints.txt.
#
#   sh infra/docker/install.sh /opt/venv 'torch==2.13.0+cpu --extra-index-url <wheel index>' aws,gcp
#
# Runs outside of an image too, in the checkout; PIP_DRY_RUN=1 resolves everything and installs nothing.
set -eu
venv=$1
torch=${2:-torch==2.13.0}
extras=${3:-}
# The secret of an image's build.
if [ -r /run/secrets/ca.crt ]; then export PIP_CERT=/run/secrets/ca.crt; fi

python3 -m venv "$venv"
python3 - "$extras" > "$venv/requirements.txt" <<'PYTHON'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
print(*project["dependencies"], sep="\n")
for extra in filter(None, sys.argv[1].split(",")):
    print(*project["optional-dependencies"][extra], sep="\n")
PYTHON
grep -v '^torch==' constraints.txt > "$venv/constraints.txt"
# The words of $torch are arguments of their own.
# shellcheck disable=SC2086
"$venv/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --progress-bar off \
    -c "$venv/constraints.txt" $torch -r "$venv/requirements.txt"
