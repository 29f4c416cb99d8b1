"""Notebook 03: a mixture of batches becomes one LoRA adapter."""
