"""What a client computes and what the server makes of the mean of it: FedSGD, FedAvg, FedProx, SCAFFOLD, FedNova.

The server's step is an optax transformation on the negative mean update, so that the algorithms which only change the
server are a choice of optimiser: FedAvgM is FedAvg with `optax.sgd(rate, momentum)`, FedAdam, FedYogi and FedAdagrad
are FedAvg with `optax.adam`, `optax.yogi` and `optax.adagrad` (Reddi et al., arXiv:2003.00295, algorithm 2; optax's
Adam and Yogi also correct the bias of their first steps).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from chainlab.autodiff.rules import backprop
from chainlab.errors import UsageError
from chainlab.federated.clients import Batches
from chainlab.federated.local import local_sgd
from chainlab.optim.compression.compressor import tree_bytes
from chainlab.typing import Metrics, Objective, Params, PRNGKey, Rule


class Update(NamedTuple):
    """A client's answer.

    Attributes:
        message: What it sends, a mapping with `delta`; the server takes its mean over clients.
        weight: Its weight in that mean.
        memory: What it keeps until it is asked again; never sent.
        metrics: `loss`, the mean over its local steps.
    """

    message: dict[str, PyTree]
    weight: Float[Array, ""]
    memory: PyTree
    metrics: Metrics


ClientUpdate = Callable[[Params, PyTree, PyTree, Batches, PRNGKey], Update]
"""`client_update(params, shared, memory, batches, key) -> Update`, pure: the one contract of all interpreters."""


def _nothing(params: Params) -> PyTree:
    del params
    return ()


def _delta(shared: PyTree, mean: dict[str, PyTree], share: Float[Array, ""]) -> tuple[PyTree, PyTree]:
    del share
    return mean["delta"], shared


@dataclass(frozen=True)
class Algorithm:
    """A federated algorithm, without the server's optimiser.

    Attributes:
        update: What a client computes.
        combine: `(shared, mean message, share of all clients that answered) -> (delta, shared)`.
        memory: A client's first memory, from the parameters.
        shared: What the server sends beside the parameters, at first.
        wire: Bytes of a message as it travels, without framing.
    """

    update: ClientUpdate
    combine: Callable[[PyTree, dict[str, PyTree], Float[Array, ""]], tuple[PyTree, PyTree]] = _delta
    memory: Callable[[Params], PyTree] = _nothing
    shared: Callable[[Params], PyTree] = _nothing
    wire: Callable[[PyTree], int] = tree_bytes


def fedsgd(objective: Objective, *, rate: float, rule: Rule = backprop) -> Algorithm:
    r"""FedSGD: each client sends one step along its full gradient, $\Delta_k = -\eta \nabla f_k(w)$.

    Args:
        objective: `objective(params, batch, key)`; the mean over the examples where `batch["mask"]` is 1.
        rate: Learning rate.
        rule: How the gradient is obtained.

    Returns:
        The algorithm; clients weigh by their examples.

    Raises:
        UsageError: The rate is not positive.

    References:
        McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, arXiv:1602.05629,
        section 2.
    """
    if not rate > 0:
        raise UsageError(f"fedsgd: wanted a rate > 0, got {rate}")
    gradient = rule(objective)

    def update(params: Params, shared: PyTree, memory: PyTree, batches: Batches, key: PRNGKey) -> Update:
        del shared

        def add(t: Any, carry: tuple[Params, Any]) -> tuple[Params, Any]:
            batch = batches.at(t)
            (loss, _), g = gradient(params, batch, jax.random.fold_in(key, t))
            part = jnp.sum(batch["mask"]) / batches.examples
            total = jax.tree.map(lambda total, g: total - rate * g * part.astype(g.dtype), carry[0], g)
            return total, carry[1] + loss.astype(jnp.float32) * part

        zeros = jax.tree.map(jnp.zeros_like, params)
        delta, loss = jax.lax.fori_loop(0, batches.count, add, (zeros, jnp.zeros((), jnp.float32)))
        return Update({"delta": delta}, batches.examples, memory, {"loss": loss})

    return Algorithm(update)


def fedavg(objective: Objective, *, rate: float, epochs: int = 1, rule: Rule = backprop) -> Algorithm:
    r"""FedAvg: each client sends the change that local SGD makes, $\Delta_k = w_k - w$.

    Args:
        objective: `objective(params, batch, key)`; the mean over the examples where `batch["mask"]` is 1.
        rate: Local learning rate.
        epochs: Local passes over a client's data.
        rule: How the gradient is obtained.

    Returns:
        The algorithm; clients weigh by their examples.

    Raises:
        UsageError: The rate is not positive or there is no epoch.

    References:
        McMahan et al., arXiv:1602.05629, algorithm 1.
    """
    return fedprox(objective, rate=rate, epochs=epochs, mu=0.0, rule=rule)


def fedprox(objective: Objective, *, rate: float, epochs: int = 1, mu: float, rule: Rule = backprop) -> Algorithm:
    r"""FedProx: FedAvg on $f_k(w_k) + \frac{\mu}{2} \lVert w_k - w \rVert^2$, which holds clients near the server.

    Args:
        objective: `objective(params, batch, key)`; the mean over the examples where `batch["mask"]` is 1.
        rate: Local learning rate.
        epochs: Local passes over a client's data.
        mu: Strength of the proximal term; 0 is FedAvg.
        rule: How the gradient is obtained.

    Returns:
        The algorithm; clients weigh by their examples.

    Raises:
        UsageError: The rate is not positive, there is no epoch, or mu is negative.

    References:
        Li et al., Federated Optimization in Heterogeneous Networks, arXiv:1812.06127, equation 2.
    """
    if not mu >= 0:
        raise UsageError(f"fedprox: wanted mu >= 0, got {mu}")
    descend = local_sgd(objective, rate=rate, epochs=epochs, rule=rule)

    def update(params: Params, shared: PyTree, memory: PyTree, batches: Batches, key: PRNGKey) -> Update:
        del shared

        def pull(w: Params, g: Params) -> Params:
            return jax.tree.map(lambda w, g, w0: g + mu * (w - w0), w, g, params)

        delta, _, loss = descend(params, batches, key, pull if mu else None)
        return Update({"delta": delta}, batches.examples, memory, {"loss": loss})

    return Algorithm(update)


def scaffold(objective: Objective, *, rate: float, epochs: int = 1, rule: Rule = backprop) -> Algorithm:
    r"""SCAFFOLD: local SGD along $g - c_k + c$, whose control variates cancel the drift of the clients.

    A client keeps $c_k$, and after its $K$ steps $c_k' = c_k - c + (w - w_k) / (K \eta)$; the server's $c$ moves by
    the mean change of $c_k$ times the share of clients that answered.

    Args:
        objective: `objective(params, batch, key)`; the mean over the examples where `batch["mask"]` is 1.
        rate: Local learning rate.
        epochs: Local passes over a client's data.
        rule: How the gradient is obtained.

    Returns:
        The algorithm; all clients weigh alike, as in the paper.

    Raises:
        UsageError: The rate is not positive or there is no epoch.

    References:
        Karimireddy et al., SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, arXiv:1910.06378,
        algorithm 1, option II, equations 3 to 5.
    """
    descend = local_sgd(objective, rate=rate, epochs=epochs, rule=rule)

    def update(params: Params, shared: PyTree, memory: PyTree, batches: Batches, key: PRNGKey) -> Update:
        def steer(w: Params, g: Params) -> Params:
            del w
            return jax.tree.map(lambda g, own, all_: g - own + all_, g, memory, shared)

        delta, steps, loss = descend(params, batches, key, steer)
        change = jax.tree.map(lambda d, all_: -all_ - d / (steps * rate).astype(d.dtype), delta, shared)
        control = jax.tree.map(jnp.add, memory, change)
        return Update({"delta": delta, "control": change}, jnp.ones((), jnp.float32), control, {"loss": loss})

    def combine(shared: PyTree, mean: dict[str, PyTree], share: Float[Array, ""]) -> tuple[PyTree, PyTree]:
        moved = jax.tree.map(lambda all_, change: all_ + share.astype(all_.dtype) * change, shared, mean["control"])
        return mean["delta"], moved

    def zeros(params: Params) -> PyTree:
        return jax.tree.map(jnp.zeros_like, params)

    return Algorithm(update, combine, zeros, zeros)


def fednova(objective: Objective, *, rate: float, epochs: int = 1, rule: Rule = backprop) -> Algorithm:
    r"""FedNova: updates are normalised by their local steps $\tau_k$ before the mean.

    $\Delta = (\sum_k p_k \tau_k) \sum_k p_k \Delta_k / \tau_k$ with $p_k = n_k / \sum_j n_j$. Clients that take
    more steps then no longer pull the server towards their own optimum.

    Args:
        objective: `objective(params, batch, key)`; the mean over the examples where `batch["mask"]` is 1.
        rate: Local learning rate.
        epochs: Local passes over a client's data.
        rule: How the gradient is obtained.

    Returns:
        The algorithm; clients weigh by their examples.

    Raises:
        UsageError: The rate is not positive or there is no epoch.

    References:
        Wang et al., Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization,
        arXiv:2007.07481, equations 6 and 9 for plain local SGD.
    """
    descend = local_sgd(objective, rate=rate, epochs=epochs, rule=rule)

    def update(params: Params, shared: PyTree, memory: PyTree, batches: Batches, key: PRNGKey) -> Update:
        del shared
        delta, steps, loss = descend(params, batches, key, None)
        direction = jax.tree.map(lambda d: d / steps.astype(d.dtype), delta)
        return Update({"delta": direction, "steps": steps}, batches.examples, memory, {"loss": loss})

    def combine(shared: PyTree, mean: dict[str, PyTree], share: Float[Array, ""]) -> tuple[PyTree, PyTree]:
        del share
        return jax.tree.map(lambda d: d * mean["steps"].astype(d.dtype), mean["delta"]), shared

    return Algorithm(update, combine)
