"""Numbers of an optimiser besides its learning rate follow schedules too."""

import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import optim

pytestmark = pytest.mark.usefixtures("standard_promotion")


def test_a_scheduled_momentum_takes_its_values_in_turn():
    ramp = {"name": "linear_schedule", "init_value": 0.0, "end_value": 0.8, "transition_steps": 2}
    optimizer = optim.build(optim.OptimizerConfig(name="sgd", learning_rate=1.0, momentum=ramp))
    state = optimizer.init(jnp.zeros(()))
    moves = []
    for _ in range(4):
        update, state = optimizer.update(jnp.ones(()), state)
        moves.append(float(update))
    # the trace is 1, then 1 + 0.4, then 1 + 0.8 (1.4), then 1 + 0.8 (2.12)
    np.testing.assert_allclose(moves, [-1, -1.4, -2.12, -2.696], rtol=1e-6)
