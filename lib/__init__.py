"""Synfluence: which synthetic data helps which embedding task, and which harms?

One room per notebook, in the notebooks' order; a room imports only from those before it:

    common, params            files, names and the design; every parameter
    kernels, embedder         fast arithmetic; a base model with an adapter, from text to vector
    generate                  01: an LLM writes triplets, which are parsed, cleaned and given hard negatives
    inspect                   02: what these data are
    train                     03: one adapter per subset of categories
    score                     04: one score per adapter and evaluation set
    influence, figures        05: what each category did to each task, in numbers and in pictures
    predict                   06 to 08: influence without retraining, why, and better mixtures
    share, grid               cards of a run; all notebooks for all runs
    notebook                  the notebooks' first cell; exercises made of them

Every stage reads and writes plain files under ``runs/<profile>/`` and can be entered there.
"""

__version__ = "0.1.0"
