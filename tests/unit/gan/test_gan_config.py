"""What the config of a game builds."""

import jax.numpy as jnp
import pytest

from chainlab import gan
from chainlab.gan import fields
from chainlab.gan.config import LossConfig, ScheduleConfig, UpdateConfig, scheduled


def test_a_schedule_goes_from_its_start_to_its_end_in_its_unit():
    assert scheduled(0.5, unit=4.0) == 2.0
    schedule = scheduled(ScheduleConfig(start=1.0, end=0.01, steps=100), unit=2.0)
    assert [float(schedule(jnp.int32(step))) for step in (0, 50, 100, 500)] == pytest.approx(
        [2.0, 0.2, 0.02, 0.02], rel=1e-5
    )


def test_scale_free_weights_are_those_of_r1_and_r2_alone():
    loss = {"r1": 0.5, "r2": 0.25, "gradient_penalty": 3.0}
    assert LossConfig(**loss).penalties(64, 0.3) == {
        **loss,
        "dragan": 0.0,
        "max_gradient": 0.0,
        "score_variance": 0.0,
    }
    found = LossConfig(**loss, scale_free=True).penalties(64, 0.3)
    unit = gan.absolute_gamma(64, 0.3, 1.0)
    assert (found["r1"], found["r2"], found["gradient_penalty"]) == (0.5 * unit, 0.25 * unit, 3.0)
    assert LossConfig(r1="auto").penalties(64, 0.3)["r1"] == gan.absolute_gamma(64, 0.3)


def test_the_update_has_its_own_numbers(monkeypatch):
    assert UpdateConfig(critic_steps=3).build() == gan.Alternating(3)
    monkeypatch.setattr(fields, "extragradient", lambda rate: rate)
    assert UpdateConfig(name="extragradient", scale=0.25).build() == 0.25
    assert isinstance(UpdateConfig(name="optimistic").build(), fields.FieldTransform)
