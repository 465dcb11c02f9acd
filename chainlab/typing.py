"""One vocabulary for the types and axes that signatures name.

Axes in jaxtyping strings: `batch` examples, `time` steps, `seq` positions, `heads` attention heads, `dim`
features, `classes` labels, `layers` depth, `qubits` wires, `clients` federated clients, `points` LiDAR
returns, `seeds` replicas. `*batch` stands for any number of leading axes.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from jaxtyping import Array, Key, PyTree, Shaped

PRNGKey: TypeAlias = Key[Array, ""]
Params: TypeAlias = PyTree
Batch: TypeAlias = PyTree
State: TypeAlias = Any
Metrics: TypeAlias = Mapping[str, Shaped[Array, "..."]]

Objective: TypeAlias = Callable[[Params, Batch, PRNGKey], tuple[Array, Metrics]]
"""What is differentiated: `objective(params, batch, key) -> (scalar, metrics)`."""

Gradient: TypeAlias = Callable[[Params, Batch, PRNGKey], tuple[tuple[Array, Metrics], Params]]
"""What a gradient rule returns: `(params, batch, key) -> ((scalar, metrics), gradients)`."""

Rule: TypeAlias = Callable[[Objective], Gradient]
"""A gradient rule: how the derivative of an objective is obtained."""
