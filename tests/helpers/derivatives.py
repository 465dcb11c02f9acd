"""How far an explanation is from `jax.grad`, and from itself."""

import jax
import numpy as np


def error(got, wanted):
    """Largest relative difference of matching leaves."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True)
    worst = 0.0
    for a, b in pairs:
        if getattr(b, "dtype", None) == jax.dtypes.float0:
            assert a.dtype == jax.dtypes.float0
            continue
        a, b = np.asarray(a, np.complex128), np.asarray(b, np.complex128)
        assert a.shape == b.shape
        worst = max(worst, np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30))
    return worst


def imbalance(graph, *, cancelling=False):
    """Largest difference of a node's adjoint and the sum of its edges' contributions, relative to the adjoint.

    Where terms cancel, what is left of them is rounding: `cancelling` compares with the size of the terms.
    """
    worst = 0.0
    for node in graph.nodes[:-1]:
        if not node.active:
            assert node.adjoint is None
            continue
        edges = [edge for edge in graph.outgoing[node.id] if edge.active]
        if isinstance(node.value, tuple):
            got = {edge.component: np.asarray(edge.contribution) for edge in edges}
            pairs = [([got[i]], np.asarray(part)) for i, part in enumerate(node.adjoint)]
        else:
            pairs = [([np.asarray(edge.contribution, np.complex128) for edge in edges], np.asarray(node.adjoint))]
        for terms, adjoint in pairs:
            size = sum(np.linalg.norm(term) for term in terms) if cancelling else np.linalg.norm(adjoint)
            worst = max(worst, np.linalg.norm(sum(terms) - adjoint) / max(size, 1e-30))
    return worst
