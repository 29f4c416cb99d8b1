"""Fast exact pieces of contrastive LoRA training, each usable alone.

infonce     the loss without a (B, C) matrix: Triton on a GPU, torch on a CPU
pooling     hidden states to unit vectors: mean, CLS or last token, padded or ragged
lora        peft's LoRA linears as one product, same files and names
"""
