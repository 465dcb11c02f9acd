"""`chainlab drive`: drive a route with a trained policy, and write an animation of it."""

from pathlib import Path
from typing import Any

import click

from chainlab.cli.common import OutputFile, json_option, out, run_argument, verb
from chainlab.cli.training import choose_device, device_option
from chainlab.errors import UsageError


@verb(
    "chainlab drive latest --condition fog --out drive.gif",
    "chainlab drive latest --condition camera_black --driver lidar --route 7",
)
@run_argument
@click.option("--condition", default="clear", show_default=True, help="Weather or failure, by name.")
@click.option(
    "--driver",
    type=click.Choice(["fusion", "camera", "lidar", "ego", "expert"]),
    default="fusion",
    show_default=True,
    help="Who drives: the policy, one of its sensors alone, the ego's motion alone, or the expert.",
)
@click.option("--route", type=click.IntRange(min=0), default=0, show_default=True, help="Which route.")
@click.option("--seconds", type=click.FloatRange(min=0.2, max=600), default=20.0, show_default=True, help="How long.")
@click.option("--out", "path", type=OutputFile(".gif"), help="A GIF to write.")
@click.option("--seed", type=click.IntRange(min=0), help="Which of the run's seeds; the first by default.")
@device_option
@json_option
def command(
    run: str,
    condition: str,
    driver: str,
    route: int,
    seconds: float,
    path: Path | None,
    seed: int | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Drive a route with the policy that RUN trained, and say how it went.

    RUN is a run folder of the driving experiment, a part of a run's name that no other run has, or `latest`.
    """
    choose_device(device)
    import jax

    from chainlab import driving
    from chainlab.lab.config import load
    from chainlab.lab.runs import find
    from chainlab.lab.trained import trained

    weather, folder = driving.condition(condition), find(run).path
    document = load(folder / "config.yaml")
    if document.experiment.name != "driving":
        raise UsageError(f"{run} is a run of {document.experiment.name}, and drive needs one of driving")
    _, _, state = trained(folder, seed)
    options: dict[str, Any] = dict(vars(document.config.policy))
    policy = driving.policy(options.pop("fusion"), options.pop("sensors"), **options)
    ego = driving.policy(sensors=(), hidden=32)
    entrants: dict[str, Any] = {
        **{name: (drives, state["params"]["policy"]) for name, drives in driving.drivers(policy).items()},
        "ego": (driving.network_driver(ego), state["params"]["ego"]),
        "expert": (driving.expert_driver, None),
    }
    if driver not in entrants:
        raise UsageError(f"--driver: this policy has {', '.join(entrants)}, got {driver}")
    where, noise = jax.random.split(jax.random.fold_in(jax.random.key(7), route))
    chosen, (drives, params) = driving.sample_route(where), entrants[driver]
    options = {"seconds": seconds}
    driven = jax.jit(lambda p: driving.drive(drives, p, chosen, weather, noise, **options))(params)
    expert = jax.jit(lambda: driving.drive(driving.expert_driver, None, chosen, weather, noise, **options))()
    figures = driving.score(driven, expert.end.progress)._asdict()
    result: dict[str, Any] = {name: value.item() for name, value in figures.items()}
    if path is not None:
        shot = jax.jit(lambda p: driving.film(drives, p, chosen, weather, noise, **options))(params)
        result["frames"] = driving.animate(shot, chosen, path, title=f"{driver}, {condition.replace('_', ' ')}")
        result["out"] = str(path)
    if as_json:
        out({"run": run, "condition": condition, "driver": driver, "route": route, **result}, as_json=True)
        return
    for name, value in result.items():
        out(f"{name.replace('_', ' ')}: {f'{value:.4g}' if isinstance(value, float) else value}")
