import pytest


@pytest.fixture(scope="session")
def qml():
    """PennyLane; its import is the dearest part of these tests."""
    pytest.importorskip("pennylane")
    from chainlab.quantum.library import pennylane

    return pennylane()
