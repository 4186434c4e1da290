"""Learn to draw photos from label maps.

    python train.py --name faceIm --label_feat
    python train.py --name faceIm --continue_train --niter 150
"""
import sys

import startup  # noqa: F401 - before torch
from data.data_loader import CreateDataLoader
from models import validation
from models.models import create_model
from models.training import Training
from options import saved
from options.restarts import restart_mark, resuming
from options.train_options import TrainOptions
from util import distributed
from util.checkpoint import Checkpoint, Position
from util.command_line import command_line
from util.device import device_of


@command_line
def main():
    """Parse, build, train."""
    opt = validation.with_split(TrainOptions().parse())
    distributed.start(device_of(opt.gpu_ids))
    loader = CreateDataLoader(opt)
    print(f"{len(loader)} training pictures in {opt.dataroot}")
    with Checkpoint(saved.experiment_folder(opt), writes=distributed.is_main()) as checkpoint:
        model = create_model(opt)
        distributed.barrier()  # before rank 0 moves or writes files that others read
        position = begin(opt, checkpoint, model, len(loader))
        return Training(opt, loader, model, checkpoint, position, resuming(sys.argv)).run()


def begin(opt, checkpoint, model, epoch_size) -> Position:
    """Restore or prepare the experiment, and write its record. Returns the position to start from."""
    position = Position()
    if opt.continue_train:
        position = checkpoint.resume(model, opt.which_epoch, epoch_size)
    elif checkpoint.exists():
        print(f"{checkpoint.folder} holds an earlier run: its files are now in {checkpoint.set_aside()} "
              "(--continue_train would have gone on with it)")
    distributed.require_same(lambda: {"the number of pictures": epoch_size, "where to go on": vars(position),
                                      **model.fingerprint(moments=True)})
    if distributed.is_main():
        saved.write(opt.replace(notes=tuple(model.notes)), model.precision)
        distributed.set_restart_mark(restart_mark(checkpoint.folder))
    return position


if __name__ == "__main__":
    main()
