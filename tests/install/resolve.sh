#!/usr/bin/env bash
# Prove that every set of packages a stranger may ask for resolves on every Python that the kit names, from the package
# index alone: this machine's constraints and wheels on disk are left out, and torch is the ordinary build, not a CPU one.
# Nothing is installed but the resolver. About a minute: tests/install/resolve.sh
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/tool"
"$folder/tool/bin/python" -m pip install --quiet uv==0.13.9
unset PIP_CONSTRAINT PIP_FIND_LINKS UV_CONSTRAINT UV_FIND_LINKS
sed -n 's/^ *#* *- \([a-z0-9-]*[=>].*\)/\1/p' environment.yml | grep -v '^python=' > "$folder/conda.in"  # with its vllm line

resolve() {  # python, what, input and options
    "$folder/tool/bin/uv" pip compile --quiet --no-config --no-annotate --no-header --python-version "$1" \
        --python-platform x86_64-unknown-linux-gnu "${@:3}" > "$folder/set.txt" || { echo "[FAIL] Python $1, $2"; exit 1; }
    grep -q '^torch==[0-9.]*$' "$folder/set.txt" && grep -q '^triton==' "$folder/set.txt" || {
        echo "[FAIL] Python $1, $2: this is not the ordinary build of torch"; exit 1; }
    echo "[OK] Python $1, $2: $(wc -l < "$folder/set.txt") packages," \
        "$(grep -E '^(torch|triton|numpy|vllm)==' "$folder/set.txt" | paste -sd ' ')"
}

for python in 3.11 3.12 3.13; do
    resolve "$python" "make's set" pyproject.toml --extra dev --extra slurm --extra smollm --extra book
    resolve "$python" "with vllm" pyproject.toml --extra dev --extra vllm
    resolve "$python" "environment.yml with vllm" "$folder/conda.in"
done
