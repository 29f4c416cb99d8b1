"""Tables of texts for notebooks: aligned in the cells themselves, as Jupyter drops style sheets until a cell is run."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML


def signed(value: float) -> str:
    """Return a number with its sign and one digit, with a true minus."""
    return f"{value:+.1f}".replace("-", "−")


def reading(table: pd.DataFrame, formats: Mapping[str, Callable | str] | None = None) -> HTML:
    """Return a table to be read: texts on the left, whole, numbers on the right; ``formats`` are per column."""
    from IPython.display import HTML
    from pandas.api.types import is_numeric_dtype

    formats = formats or {}
    sides = ["right" if is_numeric_dtype(table[column]) else "left" for column in table.columns]
    rows = [_row("th", [str(column) for column in table.columns], sides)]
    for values in table.itertuples(index=False, name=None):
        shown = [_shown(value, formats.get(column)) for column, value in zip(table.columns, values, strict=True)]
        rows.append(_row("td", shown, sides))
    return HTML(f"<table>{''.join(rows)}</table>")


def _shown(value: object, how: Callable | str | None) -> str:
    if how is None:
        return str(value)
    return how.format(value) if isinstance(how, str) else how(value)


def _row(tag: str, values: list[str], sides: list[str]) -> str:
    cells = (
        f"<{tag} style='text-align:{side};vertical-align:top'>{html.escape(value)}</{tag}>"
        for value, side in zip(values, sides, strict=True)
    )
    return f"<tr>{''.join(cells)}</tr>"
