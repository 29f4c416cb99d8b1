"""Keep the global random generators as they are while somebody else's code runs.

mteb seeds ``random``, NumPy and torch with 42 whenever a task or an evaluator is created. Scoring between two
training steps would silently make every later batch and every dropout mask the same.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Restore the state of ``random``, NumPy and torch (all devices) on leaving, also after an exception."""
    import numpy as np

    python, numbers = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    cpu = torch.get_rng_state() if torch else None
    gpus = torch.cuda.get_rng_state_all() if torch and torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
        if torch:
            torch.set_rng_state(cpu)
            if gpus:
                torch.cuda.set_rng_state_all(gpus)
