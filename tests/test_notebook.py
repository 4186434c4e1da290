"""docs/first_hour.ipynb runs from top to bottom, in a copy of the tree with a few faces."""
import shutil

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from models.networks import build
from models.networks.bisenet import BiSeNet
from tests.conftest import ROOT, copy_tracked

NOTEBOOK = ROOT / "docs/first_hour.ipynb"


def printed(cell) -> str:
    return "".join(output.get("text", "") for output in cell.get("outputs", ()))


@pytest.fixture
def clone(tmp_path):
    """The tracked files, six test faces, and a photo and a parser (untrained) where the notebook has them."""
    copy_tracked(tmp_path, leave_out=("tests/", "docs/"))
    for folder in (tmp_path / "datasets/sample_faces").glob("t*_*/"):
        for path in sorted(folder.iterdir())[6:]:
            path.unlink()
    (tmp_path / "docs").mkdir()
    (tmp_path / "my_photos").mkdir()
    shutil.copy(next((tmp_path / "datasets/sample_faces/test_img").iterdir()), tmp_path / "my_photos/me.jpg")
    torch.save(build(lambda: BiSeNet(19)).state_dict(), tmp_path / "79999_iter.pth")
    return tmp_path


def test_the_notebook_holds_no_outputs():
    assert NOTEBOOK.stat().st_size < 1_000_000
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    assert cells and not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(clone, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # installs nothing
    notebook = nbformat.read(NOTEBOOK, 4)
    # Raises where a cell does.
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": clone / "docs"}}).execute()
    said = "\n".join(map(printed, notebook.cells))
    assert "error:" not in said and "stands in" not in said, said[-3000:]
    shown = [sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in notebook.cells
             if cell.cell_type == "code"]
    assert [count for count in shown if count] == [3, 1, 2, 3], "held-out faces, the own one, other hair, styles"
    assert (clone / "datasets/mine/test_label/me.png").is_file()
