"""A base model, its LoRA adapters, packing, pooling: texts in, unit vectors out."""
