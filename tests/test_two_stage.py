"""The two-stage recipe, as one script: features precomputed by the first stage, read by the second."""
import os
import subprocess
import sys

import numpy as np
from PIL import Image

from tests.conftest import ROOT
from util.checkpoint import read_tensors

SIZE, FACES = 32, ROOT / "datasets" / "sample_faces"


def test_the_script_runs_on_the_sample_faces(tmp_path):
    before = sorted(p.name for p in FACES.iterdir())
    environment = {**os.environ, "PYTHON": sys.executable, "WORK": str(tmp_path / "work"), "SIZE": str(SIZE), "NITER": "2",
                   "GPU_IDS": "-1", "RESULTS": str(tmp_path / "results"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "scripts/two_stage.sh", "--max_dataset_size", "8", "--no_html", "--nThreads", "0"], cwd=ROOT,
                          env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    work = tmp_path / "work"
    maps = sorted((work / "two_stage_data" / "train_feat").iterdir())
    assert len(maps) == 96 and Image.open(maps[0]).size == (2 * SIZE, 2 * SIZE)
    assert sorted(p.name for p in FACES.iterdir()) == before, "the data set itself is left as it was"
    coarse, fine = (read_tensors(work / name / "latest_net_G.pth") for name in ("two_stage_coarse", "two_stage"))
    assert coarse["model.1.weight"].shape == fine["model.1.weight"].shape, "inside the enhancer is the coarse stage"
    assert not (work / "two_stage" / "latest_net_E.pth").exists() and "model1_2.0.conv_block.1.weight" in fine
    drawn = sorted((tmp_path / "results" / "two_stage" / "test_latest" / "images").glob("*_synthesized_image.jpg"))
    assert len(drawn) == 24 and all(np.asarray(Image.open(p)).shape == (2 * SIZE, 2 * SIZE, 3) for p in drawn)
