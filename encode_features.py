"""Encode photos region by region, cluster what is found into styles, and draw a page of them.

    python encode_features.py --name faceIm
    python encode_features.py --name mine --dataroot datasets/mine --load_pretrain checkpoints/faceIm
"""
import startup  # noqa: F401 - before torch
from data.data_loader import CreateDataLoader
from data.grouping import grouped
from models.models import create_model, require
from options import saved
from options.train_options import TrainOptions
from util import distributed
from util.command_line import command_line
from util.device import device_of
from util.experiment import experiment_folder
from util.files import make_folder
from util.progress import Progress

AT_ONCE = 16  # pictures, where --batchSize says nothing


@command_line
def main():
    """Parse, build, encode, write."""
    opt = TrainOptions(role="encode").parse()
    require(opt, "encode")
    distributed.start(device_of(opt.gpu_ids))
    loader = CreateDataLoader(opt)
    encoding = create_model(opt).new_encoding()
    folder = make_folder(experiment_folder(opt))
    at_once = opt.batchSize if opt.sources["batchSize"] == "command line" else AT_ONCE
    with Progress(loader.share) if distributed.is_main() else distributed.NoOp() as progress:
        for batch in grouped(loader.load_data(), at_once):
            encoding.add(batch)
            progress.update(len(batch["name"]))
    shares = distributed.gather(encoding.share())
    if distributed.is_main():
        for share in shares[1:]:
            encoding.extend(share)
        if not (folder / "opt.json").is_file():
            saved.write(opt)  # tells test.py what the weights that are put there are
        encoding.write(folder, loader.dataset)
    return 0


if __name__ == "__main__":
    main()
