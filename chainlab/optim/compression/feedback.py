"""Memories of what was not sent."""

from typing import Any

import jax
import jax.numpy as jnp

from chainlab.errors import UsageError
from chainlab.optim.compression.exchanges import Exchange
from chainlab.typing import Params, PRNGKey


def _zeros(params: Params) -> Params:
    return jax.tree.map(jnp.zeros_like, params)


def error_feedback(exchange: Exchange) -> Exchange:
    r"""Add what earlier steps left out: send $C(g_t + e_t)$ and keep $e_{t+1} = g_t + e_t - C(g_t + e_t)$.

    With a contractive code every coordinate is sent sooner or later, and SGD converges at its usual rate. Put it
    before an optimiser without momentum; for momentum see `momentum_correction`.

    Args:
        exchange: The exchange whose losses are kept.

    Returns:
        The exchange with a memory the size of the gradients.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab.optim.compression import gather, top_k
        >>> exchange = error_feedback(gather(top_k(0.5)))
        >>> step = jax.vmap(lambda g, m: exchange.mean(g, m, jax.random.key(0), "workers"), axis_name="workers")
        >>> gradients = jnp.array([[3.0, 2.0]])  # of one worker
        >>> _, sent, memory = step(gradients, exchange.init(gradients))
        >>> sent.tolist(), memory["error"].tolist()
        ([[3.0, 0.0]], [[0.0, 2.0]])

    References:
        Karimireddy et al., Error Feedback Fixes SignSGD, arXiv:1901.09847, algorithm 2.
    """

    def init(params: Params) -> dict[str, Any]:
        return {"error": _zeros(params), "inner": exchange.init(params)}

    def mean(gradients: Params, memory: Any, key: PRNGKey, axis: str) -> tuple[Params, Params, Any]:
        wanted = jax.tree.map(jnp.add, gradients, memory["error"])
        average, sent, inner = exchange.mean(wanted, memory["inner"], key, axis)
        return average, sent, {"error": jax.tree.map(jnp.subtract, wanted, sent), "inner": inner}

    return Exchange(init, mean, exchange.sent_bytes)


def momentum_correction(exchange: Exchange, momentum: float = 0.9) -> Exchange:
    r"""Momentum on each worker before a sparse code, and forgotten where a coordinate was sent.

    $u \leftarrow m u + g$, $v \leftarrow v + u$, send $C(v)$, then $u_i = v_i = 0$ at every coordinate that was sent.
    The server then takes a plain step: momentum behind error feedback would amplify its delayed bursts.

    Args:
        exchange: An exchange whose code sends some coordinates as they are (`top_k`, `random_k`).
        momentum: The factor $m$.

    Returns:
        The exchange, with two memories the size of the gradients.

    Raises:
        UsageError: The momentum is not in [0, 1).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab.optim.compression import gather, top_k
        >>> exchange = momentum_correction(gather(top_k(0.5)))
        >>> step = jax.vmap(lambda g, m: exchange.mean(g, m, jax.random.key(0), "workers"), axis_name="workers")
        >>> gradients = jnp.array([[3.0, 2.0]])  # of one worker
        >>> _, sent, memory = step(gradients, exchange.init(gradients))
        >>> sent.tolist(), memory["velocity"].tolist()
        ([[3.0, 0.0]], [[0.0, 2.0]])

    References:
        Lin et al., Deep Gradient Compression, arXiv:1712.01887, equations 4 to 7 (with momentum factor masking).
    """
    if not 0 <= momentum < 1:
        raise UsageError(f"momentum_correction needs 0 <= momentum < 1, got {momentum}")

    def init(params: Params) -> dict[str, Any]:
        return {"velocity": _zeros(params), "error": _zeros(params), "inner": exchange.init(params)}

    def mean(gradients: Params, memory: Any, key: PRNGKey, axis: str) -> tuple[Params, Params, Any]:
        velocity = jax.tree.map(lambda u, g: momentum * u + g, memory["velocity"], gradients)
        wanted = jax.tree.map(jnp.add, memory["error"], velocity)
        average, sent, inner = exchange.mean(wanted, memory["inner"], key, axis)
        kept = {
            "velocity": jax.tree.map(lambda u, s: jnp.where(s == 0, u, 0), velocity, sent),
            "error": jax.tree.map(jnp.subtract, wanted, sent),
            "inner": inner,
        }
        return average, sent, kept

    return Exchange(init, mean, exchange.sent_bytes)
