"""Numbers as people read them."""

from __future__ import annotations

POINTS = 100.0  # scores are on mteb's scale, 0 to 1; figures show points


def minus(value: float, digits: int) -> str:
    """A signed number with a true minus sign; a value that rounds to zero has no sign."""
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")
