"""Synfluence: which synthetic data helps which embedding task, and which harms?

One room per notebook, in the notebooks' order; a room imports only from those before it (docs/code.md lists them).
Every stage reads and writes plain files under ``runs/<profile>/`` and can be entered there.
"""

__version__ = "0.1.0"
