"""Problems with a known answer: the hydrogen molecule and maximum cuts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.quantum.library import library_numerics, pennylane

Edges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Molecule:
    """A molecule on qubits.

    Attributes:
        hamiltonian: PennyLane's observable of the energy, in hartree.
        qubits: Number of qubits.
        electrons: Number of electrons.
        energy: Exact ground-state energy in the same basis, in hartree.
    """

    hamiltonian: Any
    qubits: int
    electrons: int
    energy: float


def hydrogen(distance: float = 1.3989) -> Molecule:
    """The hydrogen molecule in the STO-3G basis, Jordan-Wigner transformed.

    Args:
        distance: Distance of the nuclei in bohr.

    Returns:
        The molecule; its exact energy is the least eigenvalue of the Hamiltonian's matrix.

    References:
        Peruzzo et al., A variational eigenvalue solver on a quantum processor, arXiv:1304.3061.
    """
    library = pennylane()
    with library_numerics():
        molecule = library.qchem.Molecule(["H", "H"], np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]]))
        hamiltonian, qubits = library.qchem.molecular_hamiltonian(molecule)
        coefficients, words = hamiltonian.terms()
        hamiltonian = library.dot([float(np.real(c)) for c in coefficients], words)
        matrix = library.matrix(hamiltonian, wire_order=range(qubits))
    return Molecule(hamiltonian, qubits, 2, float(np.linalg.eigvalsh(matrix)[0]))


def unitary_coupled_cluster(molecule: Molecule) -> tuple[Callable[[Array], Any], int]:
    """A circuit of Givens rotations for single and double excitations from the Hartree-Fock state.

    Args:
        molecule: The molecule.

    Returns:
        The circuit, which returns the energy, and its number of angles.

    References:
        Arrazola et al., Universal quantum circuits for quantum chemistry, arXiv:2106.13839, section 2.
    """
    library = pennylane()
    singles, doubles = library.qchem.excitations(molecule.electrons, molecule.qubits)
    occupied = np.asarray(library.qchem.hf_state(molecule.electrons, molecule.qubits))

    def circuit(angles: Float[Array, " n"]) -> Any:
        library.BasisState(occupied, wires=range(molecule.qubits))
        for index, wires in enumerate(doubles):
            library.DoubleExcitation(angles[index], wires=wires)
        for index, wires in enumerate(singles):
            library.SingleExcitation(angles[len(doubles) + index], wires=wires)
        return library.expval(molecule.hamiltonian)

    return circuit, len(doubles) + len(singles)


def maximum_cut(edges: Edges, depth: int = 1) -> Callable[[Array, Array], Any]:
    r"""The quantum approximate optimisation algorithm for the largest cut of a graph.

    $\prod_k e^{-i \beta_k \sum_v X_v} e^{-i \gamma_k C}$ on $|+\rangle$, with
    $C = \sum_{(u, v)} (1 - Z_u Z_v) / 2$, the number of edges that are cut.

    Args:
        edges: Pairs of nodes, numbered from 0.
        depth: Number of layers.

    Returns:
        The circuit of `(gamma, beta)`, which returns the expected number of cut edges.

    References:
        Farhi, Goldstone and Gutmann, A quantum approximate optimization algorithm, arXiv:1411.4028, section II.
    """
    library = pennylane()
    nodes = 1 + max(max(edge) for edge in edges)
    terms = [-0.5 * library.Z(u) @ library.Z(v) for u, v in edges]

    def circuit(gamma: Float[Array, " depth"], beta: Float[Array, " depth"]) -> Any:
        for node in range(nodes):
            library.Hadamard(node)
        for layer in range(depth):
            for u, v in edges:
                library.IsingZZ(-gamma[layer], wires=[u, v])
            for node in range(nodes):
                library.RX(2 * beta[layer], wires=node)
        return library.expval(library.sum(0.5 * len(edges) * library.Identity(0), *terms))

    return circuit


def maximum_cut_closed_form(edges: Edges, gamma: float, beta: float) -> float:
    r"""The expected number of cut edges at depth 1, in closed form.

    Args:
        edges: Pairs of nodes.
        gamma: Angle of the cost.
        beta: Angle of the mixer.

    Returns:
        The expectation.

    Raises:
        UsageError: An edge joins a node to itself, or occurs twice.

    References:
        Wang, Hadfield, Jiang and Rieffel, Quantum approximate optimization algorithm for MaxCut: a fermionic
        view, arXiv:1706.02998, theorem 1.
    """
    neighbours: dict[int, set[int]] = {}
    for u, v in edges:
        if u == v or v in neighbours.get(u, ()):
            raise UsageError(f"the graph must be simple, got edge {(u, v)} again or onto itself")
        neighbours.setdefault(u, set()).add(v)
        neighbours.setdefault(v, set()).add(u)
    total = 0.0
    for u, v in edges:
        d, e = len(neighbours[u]) - 1, len(neighbours[v]) - 1
        triangles = len(neighbours[u] & neighbours[v])
        once = math.sin(4 * beta) * math.sin(gamma) * (math.cos(gamma) ** d + math.cos(gamma) ** e) / 4
        both = (
            math.sin(2 * beta) ** 2
            * math.cos(gamma) ** (d + e - 2 * triangles)
            * (1 - math.cos(2 * gamma) ** triangles)
        )
        total += 0.5 + once - both / 4
    return total
