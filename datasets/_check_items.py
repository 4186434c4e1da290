"""Checking data sets of other modes: every item is read as for training, without a model."""
from __future__ import annotations

import contextlib
import io

from data.data_loader import dataset_class
from models.models import MODELS, model_class
from options.train_options import TrainOptions
from util.errors import UserError, first_few


def faults_of_items(mode: str, dataroot: str, phase: str, more=()) -> tuple[int, list[str]]:
    """(number of items, a message for each that cannot be read). more: further flags of train.py, of the model or data set.

    Raises UserError for faults of these flags and of the data root itself.
    """
    models = [name for name in sorted(MODELS) if model_class(name).dataset_mode == mode]
    if not models and "--model" not in more:
        raise UserError(f"--dataset_mode {mode}: no model has it as its own; there are "
                        f"{first_few(sorted({model_class(name).dataset_mode for name in MODELS}))}")
    with contextlib.redirect_stdout(io.StringIO()):  # the options' table
        opt = TrainOptions().parse([*(f"--model={name}" for name in models[:1]), "--dataset_mode", mode, "--dataroot", dataroot,
                                    "--phase", phase, "--gpu_ids", "-1", "--name", "check", *more])
    dataset = dataset_class(mode)(opt)
    faults = []
    for index in range(len(dataset)):
        try:
            dataset[index]
        except UserError as error:
            faults.append(str(error))
    return len(dataset), faults
