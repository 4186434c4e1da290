"""Experiment trackers: TensorBoard (--tf_log), Weights & Biases (--wandb)."""
from __future__ import annotations

import os

from util.errors import UserError


class TensorBoard:
    """Logs to checkpoints/<name>/logs. Raises UserError without the package tensorboard."""

    def __init__(self, opt, folder):
        try:
            from torch.utils.tensorboard import SummaryWriter  # slow to import
        except ImportError as error:
            raise UserError(f"--tf_log needs the package tensorboard ({error}): pip install tensorboard, "
                            "or leave the flag out") from error
        self._writer = SummaryWriter(os.path.join(folder, "logs"))

    def add_scalars(self, values: dict, step: int) -> None:
        """Log scalars. values: {name: number}. step: number of pictures trained on."""
        for name, value in values.items():
            self._writer.add_scalar(name, float(value), step)

    def add_images(self, images: dict, step: int) -> None:
        """Log pictures. images: {name: (H, W, 3) uint8}. step: number of pictures trained on."""
        for name, image in images.items():
            self._writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the log."""
        self._writer.close()


class WandB:
    """A run of the project label2face on wandb.ai; with WANDB_MODE=offline, only in checkpoints/<name>/wandb.

    A resumed training continues its run. Raises UserError without the package wandb, or if it cannot log in.
    """

    def __init__(self, opt, folder):
        try:
            import wandb
        except ImportError as error:
            raise UserError(f"--wandb needs the package wandb ({error}): pip install wandb, or leave the flag out") from error
        self._image = wandb.Image
        try:
            self._run = wandb.init(project="label2face", name=opt.name, dir=folder, config=opt.flags(), resume="allow",
                                   id=_run_id(folder, opt.continue_train))
        except wandb.errors.Error as error:
            raise UserError(f"--wandb: {error}; log in with `wandb login`, or set WANDB_MODE=offline") from error

    def add_scalars(self, values: dict, step: int) -> None:
        """As TensorBoard's."""
        self._run.log({name: float(value) for name, value in values.items()}, step=step)

    def add_images(self, images: dict, step: int) -> None:
        """As TensorBoard's."""
        self._run.log({name: self._image(image) for name, image in images.items()}, step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def _run_id(folder, resumes: bool) -> str:
    """The id of the run, kept in the experiment's folder; a training that does not resume gets a new one."""
    path = os.path.join(folder, "wandb_run.txt")
    if resumes and os.path.isfile(path):
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    found = os.urandom(4).hex()
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(found + "\n")
    return found


def trackers_of(opt, folder) -> list:
    """The trackers that the flags select."""
    return [kind(opt, folder) for flag, kind in (("tf_log", TensorBoard), ("wandb", WandB)) if getattr(opt, flag, False)]
