"""What a language model minimises."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from chainlab.transformer.language_model import LanguageModel
from chainlab.typing import Batch, Metrics, Objective, Params, PRNGKey


def cross_entropy(logits: Float[Array, "*batch vocabulary"], targets: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    r"""Negative log-likelihood of each target in nats, $-\log \mathrm{softmax}(z)_y$.

    Args:
        logits: Scores of the tokens.
        targets: The tokens that came.

    Returns:
        One loss a target.
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def next_token(model: LanguageModel) -> Objective:
    r"""Mean cross-entropy of each token given the ones before it, plus the losses of the experts.

    $L = \frac{1}{BT} \sum_{b,t} -\log p(x_{b,t+1} \mid x_{b,\le t})$.

    Args:
        model: The language model.

    Returns:
        `objective(params, tokens, key)` over tokens `(batch, seq + 1)`; its metrics are `cross_entropy` and,
        for a mixture of experts, `balance_loss`, `z_loss`, `dropped` and `load_max`, the largest share of
        assignments of one expert in a layer.
    """
    experts = model.architecture.experts

    def objective(params: Params, tokens: Batch, key: PRNGKey) -> tuple[Array, Metrics]:
        output = model.forward(params, tokens[:, :-1], key=key)
        loss = jnp.mean(cross_entropy(output.logits, tokens[:, 1:]))
        metrics: dict[str, Array] = {}
        if experts is not None:
            auxiliary = output.auxiliary
            metrics = {name: auxiliary[name] for name in ("balance_loss", "z_loss", "dropped")}
            metrics |= {"cross_entropy": loss, "load_max": jnp.max(auxiliary["load"])}
            loss = loss + experts.balance_loss * metrics["balance_loss"] + experts.z_loss * metrics["z_loss"]
        return loss, metrics

    return objective


def evaluate_next_token(model: LanguageModel, params: Params, batches: Int[Array, "batches batch seq"]) -> Metrics:
    """Mean cross-entropy over fixed batches, one at a time.

    Args:
        model: The language model.
        params: Its parameters.
        batches: Tokens; the last axis is one longer than the sequences.

    Returns:
        `loss` in nats a token.
    """

    def batch_loss(tokens: Int[Array, "batch seq"]) -> Array:
        return jnp.mean(cross_entropy(model.apply(params, tokens[:, :-1]), tokens[:, 1:]))

    return {"loss": jnp.mean(jax.lax.map(batch_loss, batches))}
