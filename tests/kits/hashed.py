"""An encoder without a model, a digest of a folder, and code that must not depend on Python's own hashes."""

import hashlib
import os
import subprocess
import sys

import numpy as np

from lib.common.files import digest, digest_file


def encode(texts):
    """Bags of hashed words: texts that share words are near each other, and no model is loaded."""
    rows = np.zeros((len(texts), 64), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.lower().split():
            row[hashlib.sha256(word.encode()).digest()[0] % 64] += 1
        row[0] += 1e-3
    return rows


def digest_tree(folder):
    """Return a digest of all files below a folder: their relative names and contents."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest([[path.relative_to(folder).as_posix(), digest_file(path)] for path in files])


def under_hash_seeds(code, *seeds):
    """Run code in a new process per PYTHONHASHSEED and return the set of what they print."""
    command = [sys.executable, "-c", code]
    around = [{**os.environ, "PYTHONHASHSEED": str(seed)} for seed in seeds]
    return {subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout for env in around}


def jaccard(a, b):
    """|a and b| / |a or b| of two sets, 0 for two empty ones."""
    return len(a & b) / max(len(a | b), 1)
