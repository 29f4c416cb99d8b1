"""What people see: numbers as they read them, and progress bars in terminals and notebooks."""

from __future__ import annotations

import sys

POINTS = 100.0  # scores are on mteb's scale, 0 to 1; figures show points


def minus(value: float, digits: int) -> str:
    """A signed number with a true minus sign; a value that rounds to zero has no sign."""
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def bar(*args, **options):
    """Return a tqdm bar; the arguments are tqdm's. A notebook paints the error stream red, so there it is the other."""
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
    return "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel")
