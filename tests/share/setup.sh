#!/usr/bin/env bash
# The validators of other people's formats, in an environment of their own: tests/share/setup.sh, then
# `python -m pytest tests/share`. Without it the tests look at the formats' required fields only.
set -eu
cd "$(dirname "$0")/../.."
[ -f .venv-cards/.ready ] && exit 0
"${PYTHON:-python3}" -m venv .venv-cards
.venv-cards/bin/python -m pip install --quiet mlcroissant==1.1.1 rocrate==0.16.0 cffconvert==2.0.0
touch .venv-cards/.ready
