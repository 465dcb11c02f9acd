"""`explain` on a circuit: the shifted evaluations are the rule of its node."""

import json

import numpy as np
import pytest

import chainlab
from chainlab.quantum.examples import rotation


@pytest.mark.slow
def test_the_rule_of_the_node_is_two_shifted_circuits(qml):
    explanation = chainlab.explain(rotation)(0.5)
    (edge,) = (edge for edge in explanation.edges if edge.target.kind == "custom_jvp")
    assert edge.local.value == pytest.approx(-np.sin(0.5), abs=1e-6)
    assert edge.deviation < 1e-5
    name = "circuit at RX[0] + 1.571, RX[0] - 1.571 (2 circuits, axes: 2)"
    want = np.cos([0.5 + np.pi / 2, 0.5 - np.pi / 2])
    np.testing.assert_allclose(np.ravel(edge.evaluations[name]), want, atol=1e-6)
    assert f"its rule evaluates: {name} = -0.4794, 0.4794" in " ".join(explanation.to_text(width=200).split())
    assert name in json.dumps(explanation.to_json())
