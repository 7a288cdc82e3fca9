#!/usr/bin/env bash
# Builds an environment with lmms-eval and Kairos, and runs a small local copy of its MLVU task through `--model kairos`.
# Not part of the default tests: several GB and minutes. VENV=DIR keeps and reuses the environment.
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
venv="${VENV:-$root/build/lmms-eval/venv}"
work="$root/build/lmms-eval/work"
if [ ! -e "$venv/ready" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --upgrade "pip>=24"
    "$venv/bin/python" -m pip install --quiet -e "$root[lmms-eval]" pytest
    touch "$venv/ready"
fi
rm -rf "$work" && mkdir -p "$work" && cd "$work"
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HOME="$work/hf" OMP_NUM_THREADS=2
"$venv/bin/kairos" run "$root/recipes/data/try_out.yaml"
PYTHONPATH="$root" "$venv/bin/python" -m pytest -q -p no:cacheprovider "$root/tests/integrations/lmms_eval_plugin.py"
