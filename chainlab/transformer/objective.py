"""What a language model minimises."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from chainlab.parallel import axis_size, schedule
from chainlab.transformer.language_model import LanguageModel
from chainlab.typing import Batch, Metrics, Objective, Params, PRNGKey


def cross_entropy(logits: Float[Array, "*batch vocabulary"], targets: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    r"""Negative log-likelihood of each target in nats, $-\log \mathrm{softmax}(z)_y$.

    Args:
        logits: Scores of the tokens.
        targets: The tokens that came.

    Returns:
        One loss a target.

    Example:
        >>> round(float(cross_entropy(jnp.zeros(4), jnp.array(1))), 4)  # of four equally likely tokens
        1.3863
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def next_token(model: LanguageModel) -> Objective:
    r"""Mean cross-entropy of each token given the ones before it, plus the losses of the experts.

    $L = \frac{1}{BT} \sum_{b,t} -\log p(x_{b,t+1} \mid x_{b,\le t})$.

    Args:
        model: The language model.

    Returns:
        `objective(params, batch, key)` over `{"x": tokens, "y": next tokens}` (batch, seq); for a mixture of
        experts its metrics are `cross_entropy`, `balance_loss`, `z_loss`, `dropped` (the share of assignments
        beyond an expert's capacity) and `load_max` (the largest share of one expert in a layer).
    """
    experts = model.architecture.experts

    def objective(params: Params, batch: Batch, key: PRNGKey | None) -> tuple[Array, Metrics]:
        if axis_size("pipeline") > 1 and schedule()[0] == "1f1b":
            return model.mean_loss(params, batch["x"], batch["y"], cross_entropy, key=key), {}
        output = model.forward(params, batch["x"], key=key)
        loss = jnp.mean(cross_entropy(output.logits, batch["y"]))
        metrics: dict[str, Array] = {}
        if experts is not None:
            auxiliary = output.auxiliary
            metrics = {name: auxiliary[name] for name in ("balance_loss", "z_loss", "dropped")}
            metrics |= {"cross_entropy": loss, "load_max": jnp.max(auxiliary["load"])}
            loss = loss + experts.balance_loss * metrics["balance_loss"] + experts.z_loss * metrics["z_loss"]
        return loss, metrics

    return objective


def evaluate_next_token(model: LanguageModel, params: Params, batches: Batch) -> Metrics:
    """Mean cross-entropy over fixed batches, one at a time.

    Args:
        model: The language model.
        params: Its parameters.
        batches: `{"x": tokens, "y": next tokens}` (batches, batch, seq).

    Returns:
        `loss` in nats a token.
    """

    def batch_loss(batch: Batch) -> Array:
        return jnp.mean(cross_entropy(model.apply(params, batch["x"]), batch["y"]))

    return {"loss": jnp.mean(jax.lax.map(batch_loss, batches))}
