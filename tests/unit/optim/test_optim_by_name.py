"""Every optimiser and schedule of optax, by its name and with its own arguments."""

# ruff: noqa: E501  (tables: a row a case)

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from pydantic import ValidationError

from chainlab.errors import UsageError
from chainlab.optim import (
    OptimizerConfig,
    ScheduleConfig,
    build,
    clip_by_global_norm,
    optimizers,
    schedule,
    schedules,
)

pytestmark = [
    pytest.mark.usefixtures("standard_promotion"),
    pytest.mark.filterwarnings("ignore:`optimistic_adam` is deprecated"),
]

PARAMS = {"w": jnp.arange(6.0).reshape(2, 3) / 7, "b": jnp.ones(3)}
GRADIENTS = jax.tree.map(lambda leaf: jnp.cos(leaf), PARAMS)


def from_a_learning_rate():
    """The optimisers whose only required argument, if any, is the learning rate."""
    for name, function in optimizers().items():
        parameters = inspect.signature(function).parameters
        required = {key for key, parameter in parameters.items() if parameter.default is parameter.empty}
        if "learning_rate" in parameters and required <= {"learning_rate"}:
            yield name


ALSO = {"noisy_sgd": {"key": 0}}  # optax warns without it
NAMES = tuple(from_a_learning_rate())


def program(transformation):
    """The computation of `init` and of an update, as text with its constants."""

    def value(params, obj_fn=None):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    def two_steps(gradients, params):
        state = transformation.init(params)
        extra = {"value": value(params), "grad": gradients, "value_fn": value, "obj_fn": value}
        updates, state = optax.with_extra_args_support(transformation).update(gradients, state, params, **extra)
        return updates, state

    made = jax.make_jaxpr(two_steps)(GRADIENTS, PARAMS)
    return re.sub(r"0x[0-9a-f]+", "0x", str(made)), [np.asarray(constant) for constant in made.consts]


def assert_same(ours, theirs):
    text, constants = program(ours)
    want_text, want_constants = program(theirs)
    assert text == want_text
    for got, want in zip(constants, want_constants, strict=True):
        np.testing.assert_array_equal(got, want)


def direct(name):
    return getattr(optax, name, None) or getattr(optax.contrib, name)


def test_the_table_holds_what_optax_documents():
    known = {"adam", "adamw", "sgd", "lion", "lamb", "lars", "rmsprop", "adafactor", "novograd", "lbfgs", "yogi"}
    contributed = {"muon", "prodigy", "schedule_free_adamw", "sophia", "ademamix", "adopt", "dadapt_adamw", "momo"}
    assert known | contributed <= set(NAMES)
    assert len(NAMES) >= 40
    assert {"lookahead", "schedule_free", "sam", "mechanize", "dpsgd"} <= set(optimizers()) - set(NAMES)
    assert "inject_hyperparams" not in schedules()
    assert len(schedules()) >= 14


@pytest.mark.parametrize("name", NAMES)
def test_equals_optax(name):
    arguments = {"learning_rate": 0.01, **ALSO.get(name, {})}
    assert_same(build(OptimizerConfig(name=name, **arguments)), direct(name)(**arguments))


@pytest.mark.parametrize("name", NAMES)
def test_every_number_and_flag_is_passed_on(name):
    arguments = dict(ALSO.get(name, {}))
    for key, parameter in inspect.signature(direct(name)).parameters.items():
        if isinstance(parameter.default, bool):
            arguments[key] = parameter.default
        elif isinstance(parameter.default, float) and 0 < parameter.default < 1:
            arguments[key] = parameter.default * 0.75
    arguments["learning_rate"] = 0.03
    ours = build(OptimizerConfig(name=name, **arguments))
    assert_same(ours, direct(name)(**arguments))
    assert program(ours)[0] != program(direct(name)(learning_rate=0.01, **ALSO.get(name, {})))[0]


SCHEDULES = [
    ("constant_schedule", {"value": 0.1}),
    ("linear_schedule", {"init_value": 1.0, "end_value": 0.0, "transition_steps": 10}),
    ("cosine_decay_schedule", {"init_value": 1.0, "decay_steps": 10, "alpha": 0.1}),
    ("exponential_decay", {"init_value": 1.0, "transition_steps": 3, "decay_rate": 0.5, "staircase": True}),
    ("polynomial_schedule", {"init_value": 1.0, "end_value": 0.0, "power": 2, "transition_steps": 10}),
    ("cosine_onecycle_schedule", {"transition_steps": 10, "peak_value": 1.0}),
    ("linear_onecycle_schedule", {"transition_steps": 10, "peak_value": 1.0}),
    ("warmup_constant_schedule", {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 3}),
    ("warmup_cosine_decay_schedule", {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 3, "decay_steps": 10}),
    (
        "warmup_exponential_decay_schedule",
        {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 3, "transition_steps": 2, "decay_rate": 0.5},
    ),
    ("sgdr_schedule", {"cosine_kwargs": [{"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 1, "decay_steps": 4}]}),
]


@pytest.mark.parametrize(("name", "arguments"), SCHEDULES)
def test_schedules_equal_optax(name, arguments):
    ours, theirs = schedule(ScheduleConfig(name=name, **arguments)), getattr(optax.schedules, name)(**arguments)
    assert [float(ours(step)) for step in (0, 2, 7, 12)] == [float(theirs(step)) for step in (0, 2, 7, 12)]


@pytest.mark.parametrize("name", ["piecewise_constant_schedule", "piecewise_interpolate_schedule"])
def test_steps_as_keys(name):
    extra = {"interpolate_type": "linear"} if "interpolate" in name else {}
    ours = schedule(ScheduleConfig(name=name, init_value=1.0, boundaries_and_scales={"2": 0.5, "4": 0.1}, **extra))
    theirs = getattr(optax.schedules, name)(init_value=1.0, boundaries_and_scales={2: 0.5, 4: 0.1}, **extra)
    assert [float(ours(step)) for step in range(6)] == [float(theirs(step)) for step in range(6)]


def test_schedules_in_schedules():
    ours = schedule(
        ScheduleConfig(
            name="join_schedules",
            schedules=[
                {"name": "constant_schedule", "value": 1.0},
                {"name": "linear_schedule", "init_value": 1.0, "end_value": 0.0, "transition_steps": 2},
            ],
            boundaries=[2],
        )
    )
    assert [float(ours(step)) for step in range(5)] == [1.0, 1.0, 1.0, 0.5, 0.0]


def test_every_schedule_is_tested():
    here = {name for name, _ in SCHEDULES}
    elsewhere = {"piecewise_constant_schedule", "piecewise_interpolate_schedule", "join_schedules"}
    assert here | elsewhere == set(schedules())


def test_scheduled_learning_rate_and_clipping():
    rate = ScheduleConfig(name="cosine_decay_schedule", init_value=0.1, decay_steps=5)
    ours = build(OptimizerConfig(name="adamw", learning_rate=rate, clip_norm=0.5, b1=0.8, mu_dtype="bfloat16"))
    theirs = optax.chain(
        clip_by_global_norm(0.5),
        optax.adamw(optax.schedules.cosine_decay_schedule(0.1, 5), b1=0.8, mu_dtype="bfloat16"),
    )
    assert_same(ours, theirs)


def test_optimizers_in_optimizers():
    inner = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}
    ours = build(OptimizerConfig(name="schedule_free", learning_rate=0.1, base_optimizer=inner))
    assert_same(ours, optax.contrib.schedule_free(optax.sgd(0.1, momentum=0.9), learning_rate=0.1))


def test_scheduled_weight_decay():
    ours = build(OptimizerConfig(name="add_decayed_weights", weight_decay={"name": "constant_schedule", "value": 0.1}))
    theirs = optax.add_decayed_weights(optax.schedules.constant_schedule(0.1))
    with jax.numpy_dtype_promotion("standard"):
        updates = [each.update(GRADIENTS, each.init(PARAMS), PARAMS)[0] for each in (ours, theirs)]
    jax.tree.map(np.testing.assert_array_equal, *updates)
    jax.tree.map(
        lambda got, g, p: np.testing.assert_allclose(got, g + 0.1 * p, rtol=1e-6), updates[0], GRADIENTS, PARAMS
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "adamm", "learning_rate": 0.1}, "optimizer.name: optax has no optimizer 'adamm', did you mean 'adam'?"),
        ({"name": "sgd"}, "optimizer.learning_rate: missing key: optax.sgd needs learning_rate"),
        ({"name": "sgd", "learning_rate": 0.1, "momentun": 0.9}, "takes no argument 'momentun', did you mean 'momentum'?"),
        ({"name": "adam", "learning_rate": 0.1, "b1": "0.9"}, "optimizer.b1: wrong type, got '0.9', wanted a number"),
        ({"name": "adam", "learning_rate": 0.1, "nesterov": 1}, "optimizer.nesterov: wrong type, got 1, wanted true or"),
        (
            {"name": "sgd", "learning_rate": ScheduleConfig(name="linear_schedul")},
            "optimizer.learning_rate.name: optax has no schedule 'linear_schedul', did you mean 'linear_schedule'?",
        ),
        (
            {"name": "schedule_free", "learning_rate": 0.1, "base_optimizer": {"name": "sdg", "learning_rate": 1}},
            "optimizer.base_optimizer.name: optax has no optimizer 'sdg', did you mean 'sgd'?",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_refused(arguments, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        build(OptimizerConfig(**arguments))


@pytest.mark.parametrize(
    "arguments", [{"learning_rate": -1.0}, {"clip_norm": 0.0}, {"learning_rate": "0.1"}, {"name": 3}]
)
def test_configs_are_strict(arguments):
    with pytest.raises(ValidationError):
        OptimizerConfig(**{"name": "sgd", **arguments})


def test_configs_are_values():
    assert OptimizerConfig(name="sgd", momentum=0.9) == OptimizerConfig(name="sgd", momentum=0.9)
    assert OptimizerConfig(name="sgd", momentum=0.9) != OptimizerConfig(name="sgd", momentum=0.8)
    with pytest.raises(ValidationError, match="frozen"):
        OptimizerConfig(name="sgd").name = "adam"
