"""Figures of the study. Every figure is written as SVG, PNG and a CSV of the numbers drawn.

One module per family: `heat` and `forest` (effects), `scores` (main results, counts, published
table), `sparsity` (who carries the gain, trade-offs), `interactions`, `noise` (noise floor, power),
`lattice` (the 16 subsets as a drawing). `base` holds what they share. matplotlib is imported when a figure
is drawn, so `import lib.figures` costs nothing.
"""

from lib.figures.base import save, style

__all__ = ["save", "style"]
