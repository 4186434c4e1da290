"""What a data set must bring, and what the base does for it: shown on one of a few lines."""
import numpy as np
import pytest
import torch
from PIL import Image

from data import data_loader
from data.base_dataset import BaseDataset, Needs, refuse_unsuitable
from data.data_loader import CreateDataLoader
from data.grouping import grouped
from data.image_files import list_images
from tests.conftest import SIZES, options, same
from util.errors import UserError


class Noisy(BaseDataset):
    """The photos of a folder, brightened by chance."""

    batch_keys = {"image": "(3, H, W) float32", "bright": "float"}

    def list_items(self):
        return list_images(f"{self.opt.dataroot}/train_img")

    def read(self, index, random):
        bright = float(random.random())
        photo = np.asarray(Image.open(self.paths[index]).convert("RGB"), np.float32) * bright
        return {"image": torch.from_numpy(photo).movedim(-1, 0), "bright": bright}


@pytest.fixture
def opt(root, monkeypatch):
    monkeypatch.setitem(data_loader.DATASETS, "noisy", "tests.test_base_dataset:Noisy")
    parsed = options(["--name", "x", "--dataroot", root, *SIZES, "--batchSize", "2"])
    return parsed.replace(dataset_mode="noisy", needs=Needs(("image",), listed_by="image"))


def test_names_paths_limits_and_seeded_chance_come_from_the_base(opt):
    loader = CreateDataLoader(opt.replace(max_dataset_size=3))
    assert len(loader) == 3 and len(loader.dataset) == 5
    batches = list(loader.epoch(1))
    assert [len(batch["name"]) for batch in batches] == [2, 1]
    assert sorted(name for batch in batches for name in batch["name"]) == ["p00", "p01", "p02"]
    assert all(path.endswith(f"{name}.png") for batch in batches for path, name in zip(batch["path"], batch["name"]))
    assert same(batches, list(CreateDataLoader(opt.replace(max_dataset_size=3)).epoch(1)))
    assert not same([b["bright"] for b in batches], [b["bright"] for b in loader.epoch(2)])


def test_batches_and_groups_pass_every_key_on(opt):
    batches = list(CreateDataLoader(opt.replace(serial_batches=True)).epoch(1))
    (joined,) = grouped(batches, 5)
    assert joined.keys() == {"image", "bright", "index", "name", "path"}
    assert joined["image"].shape[0] == len(joined["bright"]) == 5
    assert torch.equal(joined["image"][:2], batches[0]["image"])


def test_a_file_that_cannot_be_read_is_named(opt):
    class Broken(Noisy):
        def read(self, index, random):
            raise OSError(5, "Input/output error")

    with pytest.raises(UserError, match=r"p00\.png: cannot be read \(Input/output error\)"):
        Broken(opt)[0]


def test_what_is_missing_is_said_at_once(opt):
    class Half(BaseDataset):
        def list_items(self):
            return {}

    class Undeclared(Noisy):
        batch_keys = {"image": ""}

    with pytest.raises(TypeError, match="abstract method '?read"):
        Half(opt)
    with pytest.raises(TypeError, match="Undeclared.read gives bright, which batch_keys lacks"):
        Undeclared(opt)[0]
    with pytest.raises(UserError, match="bright: --dataset_mode noisy takes no such input"):
        Noisy.example(opt, bright=1.0)


def test_a_model_and_a_data_set_that_do_not_go_together_are_refused(opt, root):
    with pytest.raises(UserError, match="--dataset_mode noisy: its items hold image, bright, but .* takes label"):
        options(["--name", "x", "--dataroot", root, *SIZES, "--dataset_mode", "noisy"])
    refuse_unsuitable("toy", "noisy", Needs(("bright",), listed_by="image"), Noisy.batch_keys)
