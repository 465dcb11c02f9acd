"""How a branch joins the stream of a deep chain: the cures for a gradient that does not arrive."""

import math
from typing import Any, get_args

import jax
import jax.numpy as jnp

from chainlab.deep.config import Connection
from chainlab.errors import UsageError
from chainlab.nn.dense import affine
from chainlab.nn.model import Model
from chainlab.nn.norm import layer_norm, standardize
from chainlab.typing import Params, PRNGKey

connections: tuple[Connection, ...] = get_args(Connection)
"""The ways by name; see `connect`."""
ADDITIVE: tuple[Connection, ...] = ("residual", "scaled", "rezero", "skipinit", "fixup", "pre_norm", "batch_norm")
"""Those that add to their input, which a reversible chain can invert."""


def connect(branch: Model, connection: str, *, dim: int, depth: int, residual: bool = True) -> Model:
    r"""One residual layer from a branch $f$ that keeps its input's shape.

    - `plain`: $f(h)$, no skip: it lives by critical initialisation alone.
    - `residual`: $h + f(h)$. `scaled`: $h + f(h) / \sqrt{L}$.
    - `rezero`: $h + \alpha f(h)$, $\alpha = 0$ at first. `skipinit`: the same from $\alpha = 1 / \sqrt{L}$.
    - `fixup`: $h + s f(h + b_1) + b_2$ with scalars $s = 1$, $b = 0$; the branch brings Fixup's weights.
    - `pre_norm`: $h + f(\mathrm{LN}(h))$. `post_norm`: $\mathrm{LN}(h + f(h))$.
    - `deepnorm`: $\mathrm{LN}(L^{1/4} h + f(h))$ ($(2N)^{1/4}$ for $N$ layers of two branches); the branch
      brings the gain $(4L)^{-1/4}$.
    - `batch_norm`: $h + f(\mathrm{BN}(h))$ with the statistics of the batch at hand, in training and evaluation.
    - `highway`: $T f(h) + (1 - T) h$, $T = \sigma(h W_T + b_T)$ with $W_T = 0$ and $b_T = -\ln L$ at first.

    Args:
        branch: The branch; see `mlp_branch`, `convolution_branch` and `attention_branch`.
        connection: How it joins the stream.
        dim: Features of the stream (last axis).
        depth: Branches in the whole chain, $L$.
        residual: Whether the input is added; without it the result is the branch of a reversible chain.

    Returns:
        One layer: `init` gives the parameters of one, and `apply` keeps the shape of `h`.

    Raises:
        UsageError: There is no such connection, a size is less than 1, or the connection does more than add.

    References:
        ReZero: Bachlechner et al., arXiv:2003.04887, equation 2. SkipInit: De and Smith, arXiv:2002.10444, section 5.
        Fixup: Zhang et al., arXiv:1901.09321, section 3. Pre- and post-norm: Xiong et al., arXiv:2002.04745. DeepNorm:
        Wang et al., arXiv:2203.00555, figure 2. Highway: Srivastava et al., arXiv:1505.00387, equation 3.
    """
    if connection not in connections:
        raise UsageError(f"unknown connection {connection!r}; choose one of {', '.join(connections)}")
    if dim < 1 or depth < 1:
        raise UsageError(f"connect needs dim >= 1 and depth >= 1, got {dim} and {depth}")
    if not residual and connection not in ADDITIVE:
        raise UsageError(f"a reversible chain wants a connection that adds ({', '.join(ADDITIVE)}), got {connection!r}")
    norm = layer_norm(dim)

    def init(key: PRNGKey) -> Params:
        params = {"branch": branch.init(key)}
        match connection:
            case "rezero":
                params["scale"] = jnp.zeros(())
            case "skipinit":
                params["scale"] = jnp.full((), depth**-0.5)
            case "fixup":
                params |= {"scale": jnp.ones(()), "before": jnp.zeros(()), "after": jnp.zeros(())}
            case "pre_norm" | "post_norm" | "deepnorm" | "batch_norm":
                params["norm"] = norm.init(key)
            case "highway":
                params["gate"] = {"weight": jnp.zeros((dim, dim)), "bias": jnp.full(dim, -math.log(depth))}
            case _:
                pass
        return params

    def update(params: Params, h: Any, key: PRNGKey | None) -> Any:
        """What an additive connection adds to its input."""

        def f(h: Any) -> Any:
            return branch.apply(params["branch"], h, key=key)

        match connection:
            case "scaled":
                return f(h) * depth**-0.5
            case "rezero" | "skipinit":
                return params["scale"] * f(h)
            case "fixup":
                return params["scale"] * f(h + params["before"]) + params["after"]
            case "pre_norm":
                return f(norm.apply(params["norm"], h))
            case "batch_norm":
                return f(_affine(params["norm"], _over_batch(h)))
            case _:
                return f(h)

    def apply(params: Params, h: Any, *, key: PRNGKey | None = None) -> Any:
        new = update(params, h, key)
        if not residual or connection == "plain":
            return new
        match connection:
            case "post_norm":
                return norm.apply(params["norm"], h + new)
            case "deepnorm":
                return norm.apply(params["norm"], h * depth**0.25 + new)
            case "highway":
                gate = jax.nn.sigmoid(affine(h, params["gate"]["weight"], params["gate"]["bias"]))
                return gate * new + (1 - gate) * h
            case _:
                return h + new

    return Model(init, apply)


def _over_batch(h: Any) -> Any:
    """Zero mean and unit variance of every feature over all other axes."""
    flat = h.reshape(-1, h.shape[-1])
    return standardize(flat.T).T.reshape(h.shape)


def _affine(params: Params, h: Any) -> Any:
    return h * jnp.broadcast_to(params["gain"], h.shape) + jnp.broadcast_to(params["bias"], h.shape)
