"""Run commands one after the other in each of several processes, which saves the start of all but the first.

    torchrun --standalone --nproc_per_node 2 -m tests.together COMMANDS.json

A command is a script's name and its flags; or 'gradients' or 'alike', a file and the flags of a training; or 'apart' and
those. Gives each command's error,
or null, as a JSON list beside COMMANDS.json.
"""
import json
import os
import signal
import sys
from pathlib import Path

import torch

from data.data_loader import CreateDataLoader
from models.models import create_model
from models.networks import vgg
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
    model._stores_all_gradients = lambda: True  # else one process lets go of them as it goes
    terms = model.train_step(next(loader.epoch(1)))
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    if distributed.is_main():
        torch.save({"terms": terms, **found}, file)


def alike(file, argv) -> None:
    """Train two steps in processes that find other things: the second one has no VGG19, another seed and other weights.

    Writes what each trained to FILE.0 and FILE.1: {'terms': names, 'strides': whether gradients lie like weights, **weights}.
    """
    import torchvision
    if distributed.is_main():
        with torch.device("meta"):
            shapes = torchvision.models.vgg19(weights=None, init_weights=False).features.state_dict()
        state = {f"features.{key}": torch.full(value.shape, 0.01) for key, value in shapes.items()}
    vgg.find_weights = lambda path: (state, "") if distributed.is_main() else (None, "it is not on this machine")
    opt = TrainOptions().parse([*argv, "--seed", str(distributed.rank())])
    distributed.start(device_of(opt.gpu_ids))
    loader, model = CreateDataLoader(opt), create_model(opt)
    model.nets.to(memory_format=torch.channels_last)
    model.start_epoch(1)
    for _, batch in zip(range(2), loader.epoch(1)):
        terms = model.train_step(batch)
    strides = all(p.grad.stride() == p.stride() for p in model.nets.parameters())
    torch.save({"terms": sorted(terms), "strides": strides, **model.state_dict()}, f"{file}.{distributed.rank()}")


def apart(argv) -> str | None:
    """A training in which a weight of the second process changes after the third step."""
    def act(model, steps):
        if steps == 3 and not distributed.is_main():
            next(model.nets["D"].parameters()).data[0] += 1e-6

    return carry_out(after_steps(act), ["train.py", *argv])


def killed(argv) -> str | None:
    """A training whose second process dies after the fourth step, where torchrun has not started it before."""
    def act(model, steps):
        if steps == 4 and not distributed.is_main() and not distributed.has_restart_mark("killed"):
            distributed.set_restart_mark("killed")
            os.kill(os.getpid(), signal.SIGKILL)

    return carry_out(after_steps(act), ["train.py", *argv])


def after_steps(act):
    """train.py, with act(model, steps so far) after each step."""
    script, steps = load_script("train"), []

    def create(opt):
        model = create_model(opt)
        step = model.train_step

        def train_step(batch):
            steps.append(step(batch))
            act(model, len(steps))
            return steps[-1]

        model.train_step = train_step
        return model

    script.create_model = create
    return script


def run(name, *argv) -> str | None:
    """One command; gives its error."""
    if name == "gradients":
        return gradients(argv[0], list(argv[1:]))
    if name == "alike":
        return alike(argv[0], list(argv[1:]))
    if name in ("apart", "killed"):
        return {"apart": apart, "killed": killed}[name](argv)
    return carry_out(load_script(name), [f"{name}.py", *argv])


def carry_out(script, argv) -> str | None:
    """Run a script here; gives its error."""
    sys.argv = argv
    try:
        script.main.__wrapped__()  # what the command line adds would end the group
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
    distributed.stop()
    file.with_name(f"told{os.environ['RANK']}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
