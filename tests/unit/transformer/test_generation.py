import dataclasses
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab.errors import UsageError
from chainlab.transformer import Architecture, generate, language_model, restrict

SMALL = Architecture(layers=1, heads=2, dim=8, context=8, init="zero", norm="rms_plain")


def made(**change):
    model = language_model(dataclasses.replace(SMALL, **change), vocabulary=5)
    params = jax.jit(model.init)(jax.random.key(0))
    noise = iter(jax.random.split(jax.random.key(1), len(jax.tree.leaves(params))))
    return model, jax.tree.map(lambda x: x + 0.5 * jax.random.normal(next(noise), x.shape), params)


def uncached(model, params, prompt, count):
    """The likeliest continuation, each token from a whole pass."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(jnp.argmax(model.apply(params, jnp.asarray([tokens]))[0, -1])))
    return tokens[len(prompt) :]


@pytest.mark.slow
def test_the_likeliest_continuation_is_that_without_a_cache():
    model, params = made(positions="rotary", tied=True)
    prompt = np.array([1, 4, 2])
    got = list(generate(model, params, prompt, key=jax.random.key(0), count=5, temperature=0.0))
    assert got == uncached(model, params, prompt, 5)


@pytest.mark.slow
def test_generation_goes_on_past_the_context_and_repeats_with_its_key():
    model, params = made()
    runs = [
        list(generate(model, params, np.array([1]), key=jax.random.key(seed), count=20, temperature=9.0, top_k=3))
        for seed in (0, 0, 1)
    ]
    assert len(runs[0]) == 20
    assert runs[0] == runs[1] != runs[2]
    endless = generate(model, params, np.arange(20) % 5, key=jax.random.key(0), top_k=3)
    assert len(list(islice(endless, 3))) == 3


@pytest.mark.slow
def test_after_the_context_the_later_half_is_read_again():
    """The token that follows nine, one more than the context, depends on the last four alone."""
    model, params = made(positions="rotary")
    apply = jax.jit(model.apply)
    for start in range(6):
        prompt = np.array([start % 5, (2 * start + 1) % 5, 2, 4])
        got = list(generate(model, params, prompt, key=jax.random.key(0), count=6, temperature=0.0))
        history = jnp.asarray([[*prompt, *got[:5]][-4:]], jnp.int32)
        assert got[5] == int(jnp.argmax(apply(params, history)[0, -1]))


def test_restrict_keeps_what_it_says():
    logits = jnp.log(jnp.array([0.1, 0.5, 0.15, 0.25]))

    def kept(**options):
        return np.isfinite(restrict(logits, **options)).tolist()

    assert kept(top_k=2) == [False, True, False, True]
    assert kept(top_p=0.5) == [False, True, False, False]
    assert kept(top_p=0.76) == [False, True, True, True]
    assert kept(top_p=1.0) == [True] * 4
    np.testing.assert_allclose(restrict(logits, temperature=0.5), 2 * logits, rtol=1e-6)


def test_bad_prompts_and_options_say_what_was_wanted():
    model, params = made()
    key = jax.random.key(0)
    with pytest.raises(UsageError, match="at least one token"):
        next(generate(model, params, np.array([], int), key=key))
    with pytest.raises(UsageError, match=r"0\.\.4, got 1\.\.7"):
        next(generate(model, params, np.array([1, 7]), key=key))
    with pytest.raises(UsageError, match="temperature >= 0"):
        next(generate(model, params, np.array([1]), key=key, temperature=-1.0))
    with pytest.raises(UsageError, match="top_p"):
        restrict(jnp.zeros(3), top_p=0.0)
