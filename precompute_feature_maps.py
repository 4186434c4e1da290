"""Write each training photo's feature map as a picture, for --load_features at twice the size.

    python precompute_feature_maps.py --name faceIm
    python precompute_feature_maps.py --name faceIm --phase test
"""
from pathlib import Path

import startup  # noqa: F401 - before torch
from data.data_loader import CreateDataLoader
from models.models import create_model, require
from options.train_options import TrainOptions
from util import distributed
from util.command_line import command_line
from util.device import device_of
from util.files import make_folder
from util.progress import Progress
from util.util import save_image, tensor2im


@command_line
def main():
    """Parse, build, encode, write."""
    opt = TrainOptions(role="encode").parse()
    require(opt, "feature_map")
    distributed.start(device_of(opt.gpu_ids))
    loader = CreateDataLoader(opt)
    model = create_model(opt)
    folder = Path(opt.dataroot) / f"{loader.dataset.phase}_feat"
    with Progress(loader.share) if distributed.is_main() else distributed.NoOp() as progress:
        for batch in loader.load_data():
            maps = model.feature_map(batch).repeat_interleave(2, 2).repeat_interleave(2, 3)
            for name, feature_map in zip(batch["name"], maps):
                path = folder / f"{name}.png"
                make_folder(path.parent)
                save_image(tensor2im(feature_map), path)
            progress.update(len(maps))
    distributed.barrier()  # until all processes are done
    print(f"{len(loader)} feature maps in {folder}")
    return 0


if __name__ == "__main__":
    main()
