"""Progress bars: on the error stream in a terminal, on the plain one in a notebook, which paints errors red."""

from __future__ import annotations

import sys


def bar(*args, **options):
    """Return a tqdm bar of characters; the arguments are tqdm's."""
    from tqdm import tqdm

    return tqdm(*args, file=sys.stdout if _in_a_kernel() else None, **options)


def wipe() -> bool:
    """Clear a notebook cell's output, in which each step of a bar would be saved; say whether there was one."""
    if not _in_a_kernel():
        return False
    from IPython.display import clear_output

    clear_output()
    return True


def _in_a_kernel() -> bool:
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")
