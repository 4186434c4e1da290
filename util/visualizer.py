"""Showing the progress of a training: console, log, page, experiment trackers."""
from __future__ import annotations

import os
import time

from tqdm import tqdm

from util import loss_log
from util.errors import UserError
from util.files import make_folder
from util.result_page import ResultPage
from util.trackers import trackers_of
from util.training_page import TrainingPage
from util.util import safe_stem, save_image, stretch


class Visualizer:
    """Shows a training under checkpoints/<name>/, or writes the pictures of a test.

    Of `opt` it reads isTrain, name, checkpoints_dir, no_html, display_winsize, tf_log, wandb, niter, niter_decay,
    aspect_ratio and what `page_facts.of_options` takes; all but name and checkpoints_dir may be missing. In a distributed run
    only rank 0 has one.
    """

    def __init__(self, opt, epoch_size=None):
        """
        Args:
            epoch_size: pictures in an epoch, for the axis of the curves; None estimates it from the log.

        Raises:
            UserError: a folder or file cannot be written, or a tracker's package is missing.
        """
        self._train = bool(getattr(opt, "isTrain", False))
        self._width = getattr(opt, "display_winsize", 512)
        self._aspect = getattr(opt, "aspect_ratio", 1.0)
        self._notes: list[str] = []
        folder = os.path.join(opt.checkpoints_dir, opt.name)
        self.web_dir, self.log_name = os.path.join(folder, "web"), os.path.join(folder, "loss_log.txt")
        self._trackers, self._page = [], None
        if self._train:
            make_folder(folder)
            self._trackers = trackers_of(opt, folder)
            if not getattr(opt, "no_html", False):
                self._page = TrainingPage(opt, folder, epoch_size, loss_log.newest_run(loss_log.read(self.log_name)))
            self._log = loss_log.LossLog(self.log_name, time.strftime("%c"))

    def display_current_results(self, visuals, epoch, step, preview=None):
        """Save the newest pictures and write the page anew; with TensorBoard or Weights & Biases where they are on.

        Args:
            visuals: {label: (H, W, 3) uint8, or a list of such}.      epoch: from 1.      step: pictures done in all.
            preview: see `TrainingPage.show`.
        """
        flat = _flatten(visuals)
        for tracker in self._trackers:
            tracker.add_images(flat, step)
        if self._page:
            self._page.show(flat, epoch, step, preview)

    def print_current_errors(self, epoch, i, errors, t, extra=None):
        """Print the losses and append them to loss_log.txt.

        Args:
            epoch: from 1.      i: pictures done in it.      errors: {name: number or one-element tensor}.
            t: seconds a picture.      extra: {name: text} for within the parenthesis, such as {'data': '3%'}.
        """
        terms = {name: float(value) for name, value in errors.items()}
        line = loss_log.format_line(epoch, i, t, terms, extra)
        tqdm.write(line)
        self._log.add(line)
        if self._page:
            loss_log.with_entry(self._page.history, loss_log.parse_line(line))

    def plot_current_errors(self, errors, step):
        """The losses for the trackers that the flags ask for."""
        for tracker in self._trackers:
            tracker.add_scalars(errors, step)

    def show_validation(self, found, entries, best_epoch):
        """Say what a validation found, on the console, in TensorBoard and, with the earlier ones, on the page.

        Args:
            found: the newest, with epoch, total, pictures and values (see models.validation.Found).
            entries: all of them, as val_log.jsonl holds them.      best_epoch: when the best checkpoint was, or None.
        """
        values = {name: value for name, value in found.values.items() if value is not None}
        text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        best = " (the best so far)" if best_epoch == found.epoch else ""
        tqdm.write(f"validation after epoch {found.epoch}, {found.pictures} pictures: {text}{best}")
        for tracker in self._trackers:
            tracker.add_scalars({f"validation/{name}": value for name, value in values.items()}, found.total)
        self.know_validations(entries, best_epoch)

    def know_validations(self, entries, best_epoch):
        """Show these on the page from its next refresh on; see `show_validation`."""
        if self._page:
            self._page.validations, self._page.best_epoch = entries, best_epoch

    def note(self, text):
        """Show a note on the console, in loss_log.txt and, during this run, at the top of the page."""
        text = " ".join(str(text).split())
        if text in self._notes:
            return
        self._notes.append(text)
        tqdm.write(f"*** NOTE: {text} ***")
        if self._train:
            self._log.add(f"note: {text}")
        if self._page:
            self._page.notes.append(text)

    def save_images(self, webpage, visuals, image_path, remark=None, figures=None):
        """Write a test picture's visuals as images/<stem>_<label>.jpg and add them to the page as a row.

        Args:
            webpage: a `ResultPage`, or an `HTML`.
            visuals: {label: (H, W, 3) uint8}; --aspect_ratio is applied here.
            image_path: the picture's path, of which the base name counts; or, with a ResultPage, its name relative to
                its folder, subfolders included. A list of one, as a loader gives it, will do.
            remark, figures: see `ResultPage.add_row`.
        """
        name = image_path[0] if isinstance(image_path, (list, tuple)) else image_path
        if os.path.isabs(name):
            name = os.path.basename(name)
        visuals = {label: stretch(image, self._aspect) for label, image in visuals.items()}
        if isinstance(webpage, ResultPage):
            webpage.add_row(name, visuals, remark, figures)
            return
        stem = safe_stem(os.path.basename(name))
        files = [f"{stem}_{safe_stem(label)}.jpg" for label in visuals]
        for file_name, image in zip(files, visuals.values()):
            save_image(image, os.path.join(webpage.get_image_dir(), file_name))
        webpage.add_images(files, list(visuals), files, self._width, heading=stem, remark=remark)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        """Close after an error; the page shows the message of a UserError."""
        if kind:
            self.close("Training has stopped" + (f": {error}" if isinstance(error, UserError) else "."))

    def close(self, ended="Training has stopped."):
        """Plot the complete curves, and write the page a last time, no longer refreshing. ended: what it says then."""
        if self._page:
            self._page.close(ended)
        for tracker in self._trackers:
            tracker.close()
        self._trackers = []


def _flatten(visuals):
    """{label: picture or list of pictures} -> {label or label_i: picture}."""
    flat = {}
    for label, images in visuals.items():
        if isinstance(images, (list, tuple)):
            flat.update({f"{label}_{i}": image for i, image in enumerate(images)})
        else:
            flat[label] = images
    return flat
