"""Synfluence: which synthetic data helps which embedding task, and which harms?

The modules follow the study, one direction only:

    design, params            what is run, and with which values
    prompts → generation → parsing → cleaning → negatives      an LLM writes triplets
    sources, released         data that others made
    mixture → embedder → training      one adapter per subset of categories
    suites → scoring          one score per adapter and evaluation set
    influence → figures → report       what each category did to each task

Every stage reads and writes plain files under ``runs/<profile>/`` and can be entered there.
"""

__version__ = "0.1.0"
