"""Fast exact pieces of contrastive LoRA training, each usable alone.

infonce          the loss, Triton on a GPU and torch on a CPU, never a (B, C) matrix
lora             peft's LoRA linears as one product, same files and names (not imported here: peft takes seconds)
pool             hidden states to unit vectors: mean, CLS or last token, padded or ragged
last_layer       the last layer only at the pooled token
prefix           the shared instruction of a batch's queries run once
elementwise      a decoder's RMSNorm, RoPE and SwiGLU by torch.compile
"""

from lib.kernels.checks import InputError
from lib.kernels.elementwise import compiled_elementwise
from lib.kernels.last_layer import pooled_last_layer, supports_last_layer
from lib.kernels.loss import infonce
from lib.kernels.pooling import pool, pool_ragged
from lib.kernels.prefix import common_prefix, forward_with_prefix, prefix_cache, supports_prefix

__all__ = [
    "InputError",
    "common_prefix",
    "compiled_elementwise",
    "forward_with_prefix",
    "infonce",
    "pool",
    "pool_ragged",
    "pooled_last_layer",
    "prefix_cache",
    "supports_last_layer",
    "supports_prefix",
]
