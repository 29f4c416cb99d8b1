"""Progress bars: on the error stream in a terminal, on the plain one in a notebook, which paints errors red."""

from __future__ import annotations

import sys


def bar(*args, **options):
    """Return a tqdm bar of characters; the arguments are tqdm's."""
    from tqdm import tqdm

    return tqdm(*args, file=sys.stdout if _in_a_kernel() else None, **options)


def _in_a_kernel() -> bool:
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")
