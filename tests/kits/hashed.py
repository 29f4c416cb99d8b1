"""An encoder without a model."""

import hashlib

import numpy as np


def encode(texts):
    """Bags of hashed words: texts that share words are near each other, and no model is loaded."""
    rows = np.zeros((len(texts), 64), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.lower().split():
            row[hashlib.sha256(word.encode()).digest()[0] % 64] += 1
        row[0] += 1e-3
    return rows
