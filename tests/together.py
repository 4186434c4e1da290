"""Run commands one after the other in each of several processes, which saves the start of all but the first.

    torchrun --standalone --nproc_per_node 2 -m tests.together COMMANDS.json

A command is a script's name and its flags, or 'gradients', a file and the flags of a training. Gives each command's error,
or null, as a JSON list beside COMMANDS.json.
"""
import json
import os
import sys
from pathlib import Path

import torch

from data.data_loader import CreateDataLoader
from models.models import create_model
from options.train_options import TrainOptions
from tests.conftest import load_script
from util import distributed
from util.device import device_of
from util.errors import UserError


def gradients(file, argv) -> None:
    """Write the losses and all gradients of a training's first step: {'terms': {name: loss}, parameter: gradient}."""
    opt = TrainOptions().parse(argv)
    distributed.start(device_of(opt.gpu_ids))
    loader, model = CreateDataLoader(opt), create_model(opt)
    model._gradients_are_needed_whole = lambda: True  # else one process lets go of them as it goes
    terms = model.train_step(next(loader.epoch(1)))
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    if distributed.is_main():
        torch.save({"terms": terms, **found}, file)


def run(name, *argv) -> str | None:
    """One command; gives its error."""
    if name == "gradients":
        return gradients(argv[0], list(argv[1:]))
    sys.argv = [f"{name}.py", *argv]
    try:
        load_script(name).main.__wrapped__()  # what the command line adds would end the group
    except UserError as error:
        return str(error)
    except SystemExit:
        return "told by the first process"
    return None


def main():
    """Read the commands and carry them out."""
    file = Path(sys.argv[1])
    told = []
    for command in json.loads(file.read_text()):
        told.append(run(*command))
        distributed.barrier()  # the next command may read what the first process still writes
    file.with_name(f"told{os.environ['RANK']}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
