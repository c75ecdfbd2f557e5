"""The notebook runs from first to last cell with shorter settings; its outputs are stored in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PATH = ROOT / "notebooks" / "quickstart.ipynb"


def test_outputs_are_stored() -> None:
    nbformat = pytest.importorskip("nbformat")
    cells = [cell for cell in nbformat.read(PATH, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs) == 4
    assert PATH.stat().st_size < 1_000_000


@pytest.mark.slow
def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    for name, value in {"STEPS": "2", "SAMPLES": "32", "LOGS": str(tmp_path)}.items():
        monkeypatch.setenv(f"QUICKSTART_{name}", value)
    notebook = nbformat.read(PATH, as_version=4)
    nbclient.NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(PATH.parent)}}).execute()
