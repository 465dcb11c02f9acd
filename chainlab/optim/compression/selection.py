"""Exchanges by name."""

import jax.numpy as jnp

from chainlab.optim.compression.config import ExchangeConfig
from chainlab.optim.compression.exchanges import Exchange, all_reduce, gather
from chainlab.optim.compression.feedback import error_feedback, momentum_correction
from chainlab.optim.compression.low_rank import power_sgd
from chainlab.optim.compression.quantization import block_integer, one_bit, qsgd, scaled_sign
from chainlab.optim.compression.sparsification import random_k, top_k


def build_exchange(config: ExchangeConfig) -> Exchange:
    """The exchange that a config describes.

    Args:
        config: The config.

    Returns:
        The exchange, with the memories the config asks for.

    Example:
        >>> import jax.numpy as jnp
        >>> build_exchange(ExchangeConfig(name="int8")).sent_bytes(jnp.zeros(512))  # two blocks, a scale each
        520
    """
    makers = {
        "dense": all_reduce,
        "bfloat16": lambda: all_reduce(jnp.bfloat16),
        "int8": lambda: gather(block_integer()),
        "top_k": lambda: gather(top_k(config.fraction)),
        "random_k": lambda: gather(random_k(config.fraction)),
        "scaled_sign": lambda: gather(scaled_sign()),
        "one_bit": lambda: gather(one_bit()),
        "qsgd": lambda: gather(qsgd(config.bits)),
        "power_sgd": lambda: power_sgd(config.rank),
    }
    exchange = makers[config.name]()
    if config.momentum is not None:
        return momentum_correction(exchange, config.momentum)
    return error_feedback(exchange) if config.error_feedback and config.name != "dense" else exchange
