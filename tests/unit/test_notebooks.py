"""The notebooks, run as they are; what they print is what they hold."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"


def texts(notebook):
    """What each code cell shows, as text."""
    shown = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            outputs = [each.get("text") or each["data"]["text/plain"] for each in cell.outputs]
            shown.append("".join(outputs).strip())
    return shown


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_holds(path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]))
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    notebook = nbformat.read(path, as_version=4)
    wanted = texts(notebook)
    assert any(wanted)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(FOLDER)}}).execute()
    assert texts(notebook) == wanted
