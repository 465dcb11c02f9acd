"""The packages of the wheel: those of `chainlab/`, and the mapped folders `experiments/` and `configs/`."""

from setuptools import find_packages, setup

experiments = [f"chainlab.{name}" for name in find_packages(include=["experiments", "experiments.*"])]
setup(packages=[*find_packages(include=["chainlab", "chainlab.*"]), *experiments, "chainlab.configs"])
