"""Initialisers of the weights, with muP's dependence on the width."""

import math

import jax
from jax.nn.initializers import Initializer

from chainlab.transformer.architecture import Architecture


def matrix_init(architecture: Architecture) -> Initializer:
    r"""Initialiser of a matrix that reads the residual stream (query, key, value, up, router).

    Args:
        architecture: The shape; `gpt2` gives $\sigma = 0.02$, or $0.02\sqrt{d_0/d}$ under muP, `zero` gives
            $\sigma = 0.6/\sqrt{d}$, which follows the width by itself.

    Returns:
        The initialiser.

    References:
        Radford et al., Language Models are Unsupervised Multitask Learners, 2019, section 2.3.
        Yang et al., Tensor Programs V, arXiv:2203.03466, table 8.
    """
    a = architecture
    if a.init == "zero":
        return jax.nn.initializers.normal(0.6 / math.sqrt(a.dim))
    return jax.nn.initializers.normal(0.02 / math.sqrt(a.width_ratio))


def branch_init(architecture: Architecture) -> Initializer:
    r"""Initialiser of a matrix that writes to the residual stream (out, down).

    Args:
        architecture: The shape; `gpt2` divides `matrix_init` by $\sqrt{2\,\text{layers}}$, `zero` gives zero.

    Returns:
        The initialiser.
    """
    a = architecture
    if a.init == "zero":
        return jax.nn.initializers.zeros
    return jax.nn.initializers.normal(0.02 / math.sqrt(2 * a.layers * a.width_ratio))


def embedding_init(architecture: Architecture) -> Initializer:
    r"""Initialiser of the tables: $\sigma = 0.02$ for `gpt2`, $1$ for `zero`, whatever the width."""
    return jax.nn.initializers.normal(1.0 if architecture.init == "zero" else 0.02)


def head_init(architecture: Architecture) -> Initializer:
    """Initialiser of an untied head: zero for `zero`, and under muP, else that of GPT-2."""
    a = architecture
    zero = a.init == "zero" or a.base_dim is not None
    return jax.nn.initializers.zeros if zero else jax.nn.initializers.normal(0.02)
