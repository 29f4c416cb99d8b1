"""Fast exact pieces of contrastive LoRA training, each usable alone.

infonce     the loss, Triton on a GPU and torch on a CPU, never a (B, C) matrix
pool        hidden states to unit vectors: mean, CLS or last token, padded or ragged
lora        peft's LoRA linears as one product, same files and names (not imported here: peft takes seconds)
elementwise a decoder's RMSNorm, RoPE and SwiGLU by torch.compile
reference   the same as plain as it can be written, to test against and to read
"""

from lib.kernels.elementwise import compiled_elementwise
from lib.kernels.loss import infonce, positives_of_same_query
from lib.kernels.pooling import pool, pool_ragged

__all__ = ["compiled_elementwise", "infonce", "pool", "pool_ragged", "positives_of_same_query"]
