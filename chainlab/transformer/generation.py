"""Generation with a key-value cache."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from chainlab.errors import UsageError
from chainlab.transformer.language_model import LanguageModel
from chainlab.typing import Params, PRNGKey


def restrict(
    logits: Float[Array, " vocabulary"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Array, " vocabulary"]:
    """Sharpen a distribution over the next token and cut its tail.

    Args:
        logits: Scores of the tokens.
        temperature: The scores are divided by it.
        top_k: Keep the k most likely tokens.
        top_p: Keep the most likely tokens that together reach this probability (nucleus), at least one.

    Returns:
        Scores; those of the tokens that are cut are minus infinity.

    Raises:
        UsageError: `temperature`, `top_k` or `top_p` is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> restrict(jnp.log(jnp.array([0.5, 0.3, 0.2])), top_p=0.6).tolist()[2]
        -inf

    References:
        Holtzman et al., The Curious Case of Neural Text Degeneration, arXiv:1904.09751, equation 2.
    """
    if temperature <= 0 or (top_k is not None and top_k < 1) or (top_p is not None and not 0 < top_p <= 1):
        raise UsageError(
            f"sampling needs temperature > 0, top_k >= 1 and 0 < top_p <= 1, got {temperature=}, {top_k=}, {top_p=}"
        )
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        logits = jnp.where(logits < jax.lax.top_k(logits, top_k)[0][-1], -jnp.inf, logits)
    if top_p is not None:
        order = jnp.argsort(-logits)
        probabilities = jax.nn.softmax(logits[order])
        before = jnp.cumsum(probabilities) - probabilities  # what the more likely tokens already reach
        logits = logits.at[order].set(jnp.where(before >= top_p, -jnp.inf, logits[order]))
    return logits


@lru_cache(maxsize=16)
def _compiled(model: LanguageModel, temperature: float, top_k: int | None, top_p: float | None) -> Any:
    """The jitted step `(params, tokens, cache, key) -> (next token, cache)`; temperature 0 takes the likeliest."""

    def step(params: Params, tokens: Int[Array, "1 seq"], cache: Any, key: PRNGKey) -> tuple[Array, Any]:
        output = model.forward(params, tokens, cache=cache)
        logits = output.logits[0, -1]
        if temperature == 0:
            return jnp.argmax(logits).astype(jnp.int32), output.cache
        kept = restrict(logits, temperature=temperature, top_k=top_k, top_p=top_p)
        return jax.random.categorical(key, kept).astype(jnp.int32), output.cache

    return jax.jit(step, donate_argnums=2)


def generate(
    model: LanguageModel,
    params: Params,
    prompt: Integer[np.ndarray, " prompt"],
    *,
    key: PRNGKey,
    count: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[int]:
    """Continue a prompt, a token at a time, each from the cache of the ones before.

    When the context is full, the later half of it is read again and generation goes on from there.

    Args:
        model: The language model.
        params: Its parameters.
        prompt: Tokens to start from; of a prompt longer than the context the end is used.
        key: Randomness.
        count: Number of tokens; None never ends.
        temperature: Divides the logits; 0 takes the most likely token.
        top_k: Keep the k most likely tokens.
        top_p: Keep the most likely tokens that together reach this probability.

    Yields:
        The tokens, as soon as each is known.

    Raises:
        UsageError: The prompt is empty or has a token that the model does not know, or an option is out of range.
    """
    if prompt.size == 0:
        raise UsageError("generate needs a prompt of at least one token")
    if prompt.min() < 0 or prompt.max() >= model.vocabulary:
        raise UsageError(f"prompt tokens must be in 0..{model.vocabulary - 1}, got {prompt.min()}..{prompt.max()}")
    if temperature < 0:
        raise UsageError(f"generate needs temperature >= 0, got {temperature}")
    context = model.architecture.context
    step = _compiled(model, temperature, top_k, top_p)
    history = [int(token) for token in prompt[-context:]]
    cache, fresh = model.start(params, 1), history
    made = 0
    while count is None or made < count:
        tokens = jnp.asarray([fresh], jnp.int32)
        token, cache = step(params, tokens, cache, jax.random.fold_in(key, made))
        made += 1
        fresh = [int(token)]
        yield fresh[0]
        history.append(fresh[0])
        if len(history) > context:
            history = history[-max(1, context // 2) :]
            cache, fresh = model.start(params, 1), history
