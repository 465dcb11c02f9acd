r"""Speed, acceleration and steering from inertial sensors and wheels, by a Kalman filter with a car inside.

The state is $(v, a, b_x, r, b_r, \delta, \omega, b_y)$: speed, acceleration, bias of the forward accelerometer (with
the road's grade), yaw rate, bias of the gyroscope, angle of the steering wheel and its rate, bias of the lateral
accelerometer (with the road's bank). The yaw rate follows the steering wheel with a lag,

$$\tau \dot r = \frac{v}{c_0 + c_1 v^2} \delta - r,$$

the single-track model with steering ratio times wheelbase $c_0$ and understeer $c_1$. All constants and noise levels
are parameters and are fitted by the gradient through the filter.

References:
    Abbeel et al., Discriminative training of Kalman filters, RSS 2005. Haarnoja et al., Backprop KF, NeurIPS 2016
    (arXiv:1605.07148). Rajamani, Vehicle Dynamics and Control, 2nd edition, 2012, equation 3.13 (steady-state
    cornering).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.driving.comma import MotionSensors
from chainlab.driving.kalman import Filtered, Gaussian, Transition, kalman_filter, kalman_smoother
from chainlab.typing import Params, PRNGKey

_STATE = 8
_LOG_CONSTANTS = {  # of a family car; the gradient starts here
    "acceleration_time": 2.0,  # s, over which an acceleration is forgotten
    "yaw_lag": 0.12,  # s
    "steering_geometry": 41.0,  # m: ratio 15.3, wheelbase 2.7 m
    "understeer": 0.03,  # s^2/m
    "steering_rate_time": 0.3,  # s
    "steering_return": 0.5,  # 1/s
}
_PROCESS = (0.01, 0.2, 0.01, 0.003, 1e-5, 1e-4, 0.02, 0.01)  # standard deviations a step
_SENSOR = (0.3, 0.3, 0.005, 0.03, 0.002)
_PRIOR = (1.0, 1.0, 1.0, 0.1, 0.01, 0.03, 0.03, 0.5)


class EgoMotion(NamedTuple):
    """Estimates at every step.

    Attributes:
        speed: m/s.
        acceleration: m/s^2.
        yaw_rate: rad/s.
        steering: Angle of the steering wheel, rad.
    """

    speed: Float[Array, "*time"]
    acceleration: Float[Array, "*time"]
    yaw_rate: Float[Array, "*time"]
    steering: Float[Array, "*time"]


class EgoMotionFilter(NamedTuple):
    """The filter; parameters are a pytree, so that everything differentiates.

    Attributes:
        interval: Seconds between steps.
        jitter: Standard deviation of the initial parameters' logarithms around a family car's.
    """

    interval: float
    jitter: float = 0.1

    def init(self, key: PRNGKey) -> Params:
        """Parameters: logarithms of constants and standard deviations, and linear couplings.

        Args:
            key: Draws the jitter.

        Returns:
            The parameters.
        """
        params: dict[str, Any] = {name: jnp.log(value) for name, value in _LOG_CONSTANTS.items()}
        for name, values in (("process", _PROCESS), ("sensor", _SENSOR), ("prior", _PRIOR)):
            params[name] = jnp.log(jnp.array(values))
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(key, len(leaves))
        jittered = [x + self.jitter * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
        # the sensors' box is not level with the car: roll and pitch rates leak into its yaw rate and lateral force
        couplings = {"roll_to_yaw": 0.0, "pitch_to_yaw": 0.0, "roll_to_lateral": 0.0, "steering_offset": 0.0}
        return jax.tree.unflatten(structure, jittered) | {name: jnp.array(zero) for name, zero in couplings.items()}

    def filter(self, params: Params, sensors: MotionSensors) -> Filtered:
        """Estimate from the readings so far.

        Args:
            params: Of `init`.
            sensors: Readings at every step; NaN where there is none.

        Returns:
            States; `estimates` names them.
        """
        sensors = jax.tree.map(jnp.asarray, sensors)
        acceleration, rates, wheel, steering = sensors
        observed = jnp.stack([acceleration[:, 0], acceleration[:, 1], rates[:, 2], wheel, steering], axis=-1)
        speed = wheel[jnp.argmax(jnp.isfinite(wheel))]  # the first reading there is
        mean = jnp.zeros(_STATE, observed.dtype).at[0].set(jnp.where(jnp.isfinite(speed), speed, 0))
        # a rate that is not there couples nothing
        tilt = jnp.where(jnp.isfinite(rates[:, :2]), rates[:, :2], 0)
        return kalman_filter(
            self.transition(params),
            lambda state, tilt: _observe(params, state, tilt),
            jnp.diag(jnp.exp(2 * params["process"])),
            jnp.diag(jnp.exp(2 * params["sensor"])),
            Gaussian(mean, jnp.diag(jnp.exp(2 * params["prior"]))),
            observed,
            tilt,
        )

    def smooth(self, params: Params, filtered: Filtered) -> EgoMotion:
        """Estimate from all readings, later ones included.

        Args:
            params: Of `init`.
            filtered: What `filter` returned.

        Returns:
            The estimates.
        """
        return self.estimates(params, kalman_smoother(self.transition(params), filtered).mean)

    def forecast(self, params: Params, filtered: Filtered, steps: int) -> EgoMotion:
        """Estimate ahead of every step, from the readings until then.

        Args:
            params: Of `init`.
            filtered: What `filter` returned.
            steps: How far ahead.

        Returns:
            The estimates for `steps` later than each step.
        """
        ahead = jax.vmap(self.transition(params), in_axes=(0, None))
        states = jax.lax.fori_loop(0, steps, lambda _, states: ahead(states, None), filtered.posterior.mean)
        return self.estimates(params, states)

    def estimates(self, params: Params, states: Float[Array, "*time 8"]) -> EgoMotion:
        """Name the quantities of states.

        Args:
            params: Of `init`.
            states: Means of the filter.

        Returns:
            The estimates.
        """
        v, a, _, r, _, steering, _, _ = jnp.moveaxis(states, -1, 0)
        return EgoMotion(v, a, r, steering + params["steering_offset"])

    def transition(self, params: Params) -> Transition:
        """The car: `state -> state`, one interval ahead."""
        c = {name: jnp.exp(params[name]) for name in _LOG_CONSTANTS}
        dt = self.interval

        def step(state: Array, _: Any) -> Array:
            v, a, bias_x, r, bias_r, steering, rate, bias_y = state
            turn = v / (c["steering_geometry"] + c["understeer"] * v * v) * steering
            follow = 1 - jnp.exp(-dt / c["yaw_lag"])
            fade = jnp.exp(-dt / c["acceleration_time"]), jnp.exp(-dt / c["steering_rate_time"])
            wheel = steering + dt * (rate - c["steering_return"] * steering)
            return jnp.stack(
                [v + dt * a, a * fade[0], bias_x, r + follow * (turn - r), bias_r, wheel, rate * fade[1], bias_y]
            )

        return step


def _observe(params: Params, state: Array, tilt: Array) -> Array:
    v, a, bias_x, r, bias_r, steering, _, bias_y = state
    roll, pitch = tilt
    lateral = v * r + bias_y + params["roll_to_lateral"] * roll
    yaw = r + bias_r + params["roll_to_yaw"] * roll + params["pitch_to_yaw"] * pitch
    return jnp.stack([a + bias_x, lateral, yaw, v, steering + params["steering_offset"]])
