"""Whole chains by name: the layer that a kind and a connection make, stacked to any depth."""

from typing import Any, Literal

import jax
from jaxtyping import Array

from chainlab.deep.branches import attention_branch, convolution_branch, mlp_branch
from chainlab.deep.connection import connect
from chainlab.deep.memory import deep
from chainlab.deep.theory import critical_sigma_w
from chainlab.errors import UsageError
from chainlab.nn.model import Model, sequential
from chainlab.typing import Params, PRNGKey

Kind = Literal["mlp", "convolution", "transformer"]


def chain(layer: Model, depth: int, *, memory: str = "store") -> Model:
    r"""Stack a layer: independent parameters for each of `depth` copies, run by `deep`.

    Args:
        layer: One layer that keeps the shape of its input; for a reversible chain its branch.
        depth: Number of layers.
        memory: See `deep`. A reversible chain starts both streams with the input and returns their mean.

    Returns:
        A model whose parameters have the layers as leading axis.

    Raises:
        UsageError: `depth` is less than 1.
    """
    if depth < 1:
        raise UsageError(f"a chain needs depth >= 1, got {depth}")

    def init(key: PRNGKey) -> Params:
        return jax.vmap(layer.init)(jax.random.split(key, depth))

    def apply(params: Params, x: Array, *, key: PRNGKey | None = None) -> Array:
        del key
        y = deep(layer.apply, params, x, memory=memory)
        return (y[0] + y[1]) / 2 if memory == "reversible" else y

    return Model(init, apply)


def layer(
    kind: Kind,
    connection: str,
    *,
    dim: int,
    depth: int,
    activation: str = "relu",
    branch_layers: int = 1,
    sigma_w: float | None = None,
    sigma_b: float = 0.0,
    orthogonal: bool = False,
    heads: int = 4,
    residual: bool = True,
) -> Model:
    r"""One layer of a chain, with the initialisation that its connection asks for.

    Fixup scales the weights of an $m$-layer branch by $L^{-1 / (2m - 2)}$ and starts the last at 0; DeepNorm scales
    values, output and feed-forward weights by $(8 N)^{-1/4}$ for $N$ layers of two branches each.

    Args:
        kind: `mlp`, `convolution` or `transformer` (attention, then a dense branch of two layers).
        connection: How its branches join the stream; see `connect`.
        dim: Features.
        depth: Layers in the chain.
        activation: Activation of dense and convolutional branches.
        branch_layers: Dense layers in a branch of `mlp`.
        sigma_w: Scale of the initial weights; null takes the critical one of the activation.
        sigma_b: Standard deviation of the initial biases.
        orthogonal: Whether initial weights are (delta-)orthogonal.
        heads: Attention heads.
        residual: See `connect`.

    Returns:
        The layer.

    Raises:
        UsageError: Fixup is asked for with a branch of one layer, or a transformer without a residual.

    References:
        Zhang et al., arXiv:1901.09321, section 3; Wang et al., arXiv:2203.00555, table 1.
    """
    branches = depth * (2 if kind == "transformer" else 1)
    dense_layers = {"mlp": branch_layers, "convolution": 1, "transformer": 2}[kind]
    sigma_w = critical_sigma_w(activation, sigma_b) if sigma_w is None else sigma_w
    last = 1.0
    if connection == "fixup":
        if dense_layers < 2:
            raise UsageError(
                f"fixup needs branches of 2 layers or more, got {dense_layers} ({kind}): set branch_layers, "
                "or use rezero"
            )
        sigma_w, last = sigma_w * branches ** (-1 / (2 * dense_layers - 2)), 0.0
    elif connection == "deepnorm":
        last = (4 * branches) ** -0.25
        sigma_w = sigma_w * last if dense_layers > 1 else sigma_w

    def connected(branch: Model) -> Model:
        return connect(branch, connection, dim=dim, depth=branches, residual=residual)

    shared: dict[str, Any] = {
        "activation": activation,
        "sigma_w": sigma_w,
        "sigma_b": sigma_b,
        "orthogonal": orthogonal,
    }
    if kind == "convolution":
        return connected(convolution_branch(dim, last=last, **shared))
    feed_forward = connected(
        mlp_branch(
            dim, layers=dense_layers, last=1.0 if connection == "deepnorm" and dense_layers > 1 else last, **shared
        )
    )
    if kind == "mlp":
        return feed_forward
    if not residual:
        raise UsageError("a transformer layer has two branches: its chain can't be reversible, use memory: sqrt")
    return sequential({"attention": connected(attention_branch(dim, heads, last=last)), "feed_forward": feed_forward})
