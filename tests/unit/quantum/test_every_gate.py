"""Every PennyLane gate with a shift rule, and wrappers, templates and Hamiltonians around them."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import quantum
from chainlab.quantum.library import library_numerics

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("x64")]

GATES = {
    # name: (number of angles, function from PennyLane and the angles)
    "CPhaseShift00": (1, lambda q, a: q.CPhaseShift00(a, wires=[0, 1])),
    "CPhaseShift01": (1, lambda q, a: q.CPhaseShift01(a, wires=[0, 1])),
    "CPhaseShift10": (1, lambda q, a: q.CPhaseShift10(a, wires=[0, 1])),
    "CRX": (1, lambda q, a: q.CRX(a, wires=[0, 1])),
    "CRY": (1, lambda q, a: q.CRY(a, wires=[1, 0])),
    "CRZ": (1, lambda q, a: q.CRZ(a, wires=[0, 2])),
    "CRot": (3, lambda q, a, b, c: q.CRot(a, b, c, wires=[2, 0])),
    "ControlledPhaseShift": (1, lambda q, a: q.ControlledPhaseShift(a, wires=[0, 1])),
    "DoubleExcitation": (1, lambda q, a: q.DoubleExcitation(a, wires=[0, 1, 2, 3])),
    "DoubleExcitationMinus": (1, lambda q, a: q.DoubleExcitationMinus(a, wires=[0, 1, 2, 3])),
    "DoubleExcitationPlus": (1, lambda q, a: q.DoubleExcitationPlus(a, wires=[3, 1, 2, 0])),
    "FermionicDoubleExcitation": (1, lambda q, a: q.FermionicDoubleExcitation(a, wires1=[0, 1], wires2=[2, 3])),
    "FermionicSWAP": (1, lambda q, a: q.FermionicSWAP(a, wires=[0, 1])),
    "FermionicSingleExcitation": (1, lambda q, a: q.FermionicSingleExcitation(a, wires=[0, 1, 2])),
    "GlobalPhase": (1, lambda q, a: q.GlobalPhase(a)),
    "IsingXX": (1, lambda q, a: q.IsingXX(a, wires=[0, 1])),
    "IsingXY": (1, lambda q, a: q.IsingXY(a, wires=[0, 1])),
    "IsingYY": (1, lambda q, a: q.IsingYY(a, wires=[0, 2])),
    "IsingZZ": (1, lambda q, a: q.IsingZZ(a, wires=[0, 1])),
    "MultiRZ": (1, lambda q, a: q.MultiRZ(a, wires=[0, 1, 3])),
    "OrbitalRotation": (1, lambda q, a: q.OrbitalRotation(a, wires=[0, 1, 2, 3])),
    "PCPhase": (1, lambda q, a: q.PCPhase(a, dim=3, wires=[0, 1])),
    "PSWAP": (1, lambda q, a: q.PSWAP(a, wires=[0, 1])),
    "PauliRot": (1, lambda q, a: q.PauliRot(a, "XYZ", wires=[0, 1, 3])),
    "PhaseShift": (1, lambda q, a: q.PhaseShift(a, wires=0)),
    "RX": (1, lambda q, a: q.RX(a, wires=0)),
    "RY": (1, lambda q, a: q.RY(a, wires=1)),
    "RZ": (1, lambda q, a: q.RZ(a, wires=0)),
    "Rot": (3, lambda q, a, b, c: q.Rot(a, b, c, wires=0)),
    "SingleExcitation": (1, lambda q, a: q.SingleExcitation(a, wires=[0, 1])),
    "SingleExcitationMinus": (1, lambda q, a: q.SingleExcitationMinus(a, wires=[0, 1])),
    "SingleExcitationPlus": (1, lambda q, a: q.SingleExcitationPlus(a, wires=[1, 0])),
    "U1": (1, lambda q, a: q.U1(a, wires=0)),
    "U2": (2, lambda q, a, b: q.U2(a, b, wires=0)),
    "U3": (3, lambda q, a, b, c: q.U3(a, b, c, wires=0)),
}

ELSEWHERE = {
    "TmpPauliRot",  # an aid of SpecialUnitary's own derivative
    *("TRX", "TRY", "TRZ"),  # qutrits
    *("Beamsplitter", "ControlledAddition", "ControlledPhase", "CrossKerr", "CubicPhase", "Displacement", "Kerr"),
    *("QuadraticPhase", "Rotation", "Squeezing", "TwoModeSqueezing", "Interferometer"),  # continuous variables
}

WRAPPERS = {
    "adjoint": (1, lambda q, a: q.adjoint(q.CRX(a, wires=[0, 1]))),
    "adjoint of three angles": (3, lambda q, a, b, c: q.adjoint(q.Rot(a, b, c, wires=0))),
    "ctrl": (1, lambda q, a: q.ctrl(q.RY(a, wires=0), control=1)),
    "ctrl on zero": (1, lambda q, a: q.ctrl(q.RX(a, wires=0), control=[1, 2], control_values=[0, 1])),
    "ctrl of three angles": (3, lambda q, a, b, c: q.ctrl(q.Rot(a, b, c, wires=0), control=2)),
    "ctrl of a four-term gate": (1, lambda q, a: q.ctrl(q.SingleExcitation(a, wires=[0, 1]), control=[2])),
    "ctrl of a global phase": (1, lambda q, a: q.ctrl(q.GlobalPhase(a), control=[0, 1])),
    "ctrl of a Pauli rotation": (1, lambda q, a: q.ctrl(q.PauliRot(a, "XY", wires=[0, 1]), control=3)),
    "ctrl of adjoint of ctrl": (1, lambda q, a: q.ctrl(q.adjoint(q.ctrl(q.RZ(a, wires=0), 1)), control=2)),
    "whole power": (1, lambda q, a: q.pow(q.RX(a, wires=0), 3)),
    "fractional power": (1, lambda q, a: q.pow(q.IsingXX(a, wires=[0, 1]), 0.5)),
    "product": (2, lambda q, a, b: q.prod(q.RX(a, wires=0), q.CRY(b, wires=[0, 1]))),
    "exp": (1, lambda q, a: q.exp(q.X(0) @ q.Y(1), 1j * a)),
    "exp of a sum": (1, lambda q, a: q.exp(0.3 * q.X(0) + 0.7 * q.Z(0) @ q.Z(1), -0.5j * a)),
    "evolve": (1, lambda q, a: q.evolve(q.X(0) @ q.X(1), a)),
    "evolve with irrational frequencies": (1, lambda q, a: q.evolve(0.3 * q.X(0) + 0.7 * q.Z(1) @ q.Y(0), a)),
    "evolve with a traced coefficient": (2, lambda q, a, b: q.evolve(a * q.X(0) @ q.Z(1), b)),
    "ctrl of a product": (2, lambda q, a, b: q.ctrl(q.prod(q.RX(a, wires=0), q.RY(b, wires=1)), control=2)),
    "change of basis": (1, lambda q, a: q.change_op_basis(q.Hadamard(0), q.RZ(a, wires=0))),
    "diagonal unitary": (2, lambda q, a, b: q.DiagonalQubitUnitary(jnp.exp(1j * jnp.stack([a, b])), wires=0)),
    "multi-controlled": (1, lambda q, a: (q.RX(a, 0), q.MultiControlledX(wires=[0, 1, 2, 3, 4]))),
    "wide Pauli rotation": (1, lambda q, a: q.PauliRot(a, "XYZZXY", wires=range(6))),
    "wide MultiRZ": (1, lambda q, a: q.MultiRZ(a, wires=[5, 0, 2, 1, 3])),
}

TEMPLATES = {
    "AngleEmbedding": ((4,), lambda q, x: q.AngleEmbedding(x, wires=range(4), rotation="Y")),
    "IQPEmbedding": ((4,), lambda q, x: q.IQPEmbedding(x, wires=range(4), n_repeats=2)),
    "QAOAEmbedding": ((2, 6), lambda q, w: q.QAOAEmbedding(np.array([0.1, 0.4, 0.2]), w, wires=range(3))),
    "BasicEntanglerLayers": ((2, 4), lambda q, w: q.BasicEntanglerLayers(w, wires=range(4))),
    "StronglyEntanglingLayers": ((2, 3, 3), lambda q, w: q.StronglyEntanglingLayers(w, wires=range(3))),
    "RandomLayers": ((2, 3), lambda q, w: q.RandomLayers(w, wires=range(3), seed=1)),
    "SimplifiedTwoDesign": ((2, 2, 2), lambda q, w: q.SimplifiedTwoDesign(np.ones(3), w, wires=range(3))),
    "GateFabric": ((1, 1, 2), lambda q, w: q.GateFabric(w, wires=range(4), init_state=np.array([1, 1, 0, 0]))),
    "ParticleConservingU1": (
        (1, 2, 2),
        lambda q, w: q.ParticleConservingU1(w, wires=range(3), init_state=np.array([1, 0, 0])),
    ),
    "ParticleConservingU2": (
        (1, 5),
        lambda q, w: q.ParticleConservingU2(w, wires=range(3), init_state=np.array([1, 0, 0])),
    ),
    "UCCSD": (
        (3,),
        lambda q, w: q.UCCSD(w, range(4), [[0, 1, 2], [1, 2, 3]], [[[0, 1], [2, 3]]], np.array([1, 1, 0, 0])),
    ),
    "AllSinglesDoubles": (
        (2,),
        lambda q, w: q.AllSinglesDoubles(w, range(4), np.array([1, 1, 0, 0]), [[0, 2]], [[0, 1, 2, 3]]),
    ),
    "TrotterProduct": (
        (3,),
        lambda q, w: q.TrotterProduct(q.dot(w[:2], [q.X(0), q.Z(0) @ q.X(1)]), w[2], n=2, order=2),
    ),
    "TrotterProduct of fourth order": (
        (2,),
        lambda q, w: q.TrotterProduct(q.dot([w[0], 0.4], [q.X(0), q.Z(0) @ q.X(1)]), w[1], n=1, order=4),
    ),
    "ApproxTimeEvolution": ((3,), lambda q, w: q.ApproxTimeEvolution(q.dot(w[:2], [q.X(0), q.Z(1)]), w[2], 2)),
    "CommutingEvolution": ((2,), lambda q, w: q.CommutingEvolution(q.dot([1.0, 2.0], [q.X(0), q.X(1)]), w[0] * w[1])),
    "ArbitraryUnitary": ((15,), lambda q, w: q.ArbitraryUnitary(w, wires=[0, 1])),
    "SelectPauliRot": ((4,), lambda q, w: q.SelectPauliRot(w, [0, 1], 2)),
    "constant Hamiltonian": (
        (),
        lambda q, a: q.ApproxTimeEvolution(q.Hamiltonian(np.array([0.5, 1.0]), [q.Z(0) @ q.Z(1), q.X(2)]), a, 1),
    ),
    "QSVT": (
        (2,),
        lambda q, w: q.QSVT(
            q.BlockEncode(np.array([[0.1, 0.2], [0.3, 0.4]]), wires=[0, 1]),
            [q.PCPhase(angle, dim=2, wires=[0, 1]) for angle in w],
        ),
    ),
    "Select": ((2,), lambda q, w: q.Select([q.RX(w[0], wires=2), q.CRY(w[1], wires=[2, 3])], control=[0])),
    "Reflection": ((), lambda q, a: q.Reflection(q.prod(q.Hadamard(0), q.Hadamard(1)), a)),
    "ControlledSequence": ((), lambda q, a: q.ControlledSequence(q.RX(a, wires=3), control=[0, 1, 2])),
    "QuantumPhaseEstimation": ((), lambda q, a: q.QuantumPhaseEstimation(q.RX(a, wires=0), estimation_wires=[1, 2])),
    "measured midway": ((2,), lambda q, w: midway(q, w)),
}


def midway(q, w):
    q.RX(w[0], wires=0)
    outcome = q.measure(0)
    q.cond(outcome, q.RY)(w[1], wires=1)


def circuit_around(q, body):
    """The body between fixed entangling layers, with outputs that see every wire."""

    def layer(shift):
        for wire in range(4):
            q.Rot(shift + 0.3 * wire, 0.7 + 0.4 * wire, shift - 0.2 * wire, wires=wire)
        for wire in range(3):
            q.CNOT(wires=[wire, wire + 1])

    def circuit(*args):
        layer(0.1)
        body(*args)
        layer(0.9)
        return q.expval(q.Z(0) @ q.X(1)), q.expval(q.Y(2) @ q.Z(3) + 0.4 * q.Z(1)), q.probs(wires=[3, 1])

    return circuit


def check(q, bodies, args):
    """Values and Jacobians of several bodies in a row against PennyLane's own, by backprop."""

    def every(*args):
        for body, own in zip(bodies, args, strict=True):
            body(*own)

    circuit = circuit_around(q, every)

    def stacked(f):
        return lambda a: jnp.concatenate([jnp.ravel(leaf) for leaf in f(*a)])

    shift = stacked(quantum.expectation(circuit))
    with library_numerics():
        peer = stacked(q.QNode(circuit, q.device("default.qubit"), diff_method="backprop", interface="jax"))
        value, want = jax.jit(lambda a: (peer(a), jax.jacrev(peer)(a)))(args)
    np.testing.assert_allclose(shift(args), value, rtol=0, atol=1e-12)
    batch = jax.tree.map(lambda a: jnp.stack([a, a + 0.1]), args)
    vectorised = jax.tree.map(lambda j: j[0], jax.jit(jax.vmap(jax.jacrev(shift)))(batch))
    for g, w in zip(jax.tree.leaves(vectorised), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e-12)


def angles(count):
    return tuple(jnp.asarray(v) for v in np.random.default_rng(count).uniform(-3, 3, count))


def groups(names, size):
    names = list(names)
    return [names[i : i + size] for i in range(0, len(names), size)]


@pytest.mark.parametrize("names", groups(GATES, 9), ids="-".join)
def test_gates(qml, names):
    bodies = [lambda *a, build=GATES[name][1]: build(qml, *a) for name in names]
    check(qml, bodies, [angles(GATES[name][0]) for name in names])


@pytest.mark.parametrize("names", groups(WRAPPERS, 8), ids=", ".join)
def test_wrappers(qml, names):
    bodies = [lambda *a, build=WRAPPERS[name][1]: build(qml, *a) for name in names]
    check(qml, bodies, [angles(WRAPPERS[name][0]) for name in names])


@pytest.mark.parametrize("names", groups(TEMPLATES, 4), ids=", ".join)
def test_templates(qml, names):
    bodies = [lambda w, build=TEMPLATES[name][1]: build(qml, w) for name in names]
    rng = np.random.default_rng(2)
    check(qml, bodies, [(jnp.asarray(rng.normal(size=TEMPLATES[name][0])),) for name in names])


def test_no_gate_of_pennylane_is_missing(qml):
    """Every operation of PennyLane that declares frequencies or a recipe is in the table above."""

    def subclasses(cls):
        for sub in cls.__subclasses__():
            yield sub
            yield from subclasses(sub)

    declared = set()
    for cls in subclasses(qml.operation.Operation):
        if not cls.__module__.startswith("pennylane.") or issubclass(cls, qml.operation.Channel):
            continue
        frequencies = inspect.getattr_static(cls, "parameter_frequencies", None)
        recipe = inspect.getattr_static(cls, "grad_recipe", None)
        if isinstance(frequencies, list) or isinstance(recipe, list | tuple):
            declared.add(cls.__name__)
    assert len(declared) > 25
    assert declared <= GATES.keys() | ELSEWHERE
