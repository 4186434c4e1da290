"""Showing the progress of a training: console, log, page, experiment trackers."""
from __future__ import annotations

import os
import re
import time

from tqdm import tqdm

from util import loss_log, page_facts, page_links
from util.files import make_folder
from util.html import HTML
from util.result_page import ResultPage
from util.trackers import trackers_of
from util.util import safe_stem, save_image, stretch

_EPOCH_PICTURE = re.compile(r"^epoch(\d{3,})_(.+)\.jpg$")
_PLOT_SHARE = 20  # curves are plotted again when twenty times the duration of plotting has passed


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
        self._name, self._train = opt.name, bool(getattr(opt, "isTrain", False))
        self._html = self._train and not getattr(opt, "no_html", False)
        self._width = getattr(opt, "display_winsize", 512)
        self._aspect = getattr(opt, "aspect_ratio", 1.0)
        self._epochs = getattr(opt, "niter", 0) + getattr(opt, "niter_decay", 0)
        self._epoch_size = epoch_size
        self._notes: list[str] = []
        self._epoch, self._plot_after, self._plotted = 0, 0.0, 0
        self._labels: list[str] = []
        self._validations: list[dict] = []
        self._best_epoch, self._validations_plotted = None, 0
        self._folder = folder = os.path.join(opt.checkpoints_dir, opt.name)
        started = page_facts.now()
        known = self._html and hasattr(opt, "command")
        self._facts = (lambda: page_facts.of_options(opt, more=[("started", started)])) if known else None
        self.web_dir, self.log_name = os.path.join(folder, "web"), os.path.join(folder, "loss_log.txt")
        self._trackers = []
        if self._train:
            make_folder(folder)
            self._trackers = trackers_of(opt, folder)
            self._history = loss_log.newest_run(loss_log.read(self.log_name)) if self._html else []
            self._log = loss_log.LossLog(self.log_name, time.strftime("%c"))

    def display_current_results(self, visuals, epoch, step):
        """Save the newest pictures and write the page anew, with TensorBoard where it is on.

        Args:
            visuals: {label: (H, W, 3) uint8, or a list of such}.      epoch: from 1.      step: pictures done in all.
        """
        flat = _flatten(visuals)
        for tracker in self._trackers:
            tracker.add_images(flat, step)
        if not self._html:
            return
        self._epoch, self._labels = epoch, [safe_stem(label) for label in flat]
        make_folder(os.path.join(self.web_dir, "images"))
        for label, image in flat.items():
            save_image(image, os.path.join(self.web_dir, "images", f"epoch{epoch:03d}_{safe_stem(label)}.jpg"))
        self._plot()
        self._write_page(refresh=30)

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
        if self._html:
            shown = {name: value for name, value in terms.items() if value != 0}
            self._history = loss_log.with_entry(self._history, {"epoch": epoch, "iters": i, "terms": shown})

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
        self._validations, self._best_epoch = entries, best_epoch

    def note(self, text):
        """Show a note on the console, in loss_log.txt and, during this run, at the top of the page."""
        text = " ".join(str(text).split())
        if text in self._notes:
            return
        self._notes.append(text)
        tqdm.write(f"*** NOTE: {text} ***")
        if self._train:
            self._log.add(f"note: {text}")

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

    def close(self):
        """Plot the complete curves, and write the page a last time, no longer refreshing."""
        if self._html and self._epoch:
            self._plot(now=True)
            self._write_page(refresh=0)
        for tracker in self._trackers:
            tracker.close()
        self._trackers = []

    def _plot(self, now=False):
        if len(self._validations) > self._validations_plotted:
            from util.plots import plot_validation
            if plot_validation(self._validations, self._best_epoch, os.path.join(self.web_dir, "images", "validation.png")):
                self._validations_plotted = len(self._validations)
        if len(self._history) == self._plotted or (not now and time.monotonic() < self._plot_after):
            return
        from util.plots import plot_losses
        started = time.monotonic()
        plot_losses(self._history, self._epoch_size, os.path.join(self.web_dir, "images", "loss.png"))
        self._plotted = len(self._history)
        self._plot_after = time.monotonic() + _PLOT_SHARE * (time.monotonic() - started)

    def _write_page(self, refresh):
        page = HTML(self.web_dir, f"Experiment name = {self._name}", refresh=refresh)
        of = f" of {self._epochs}" if self._epochs else ""
        page.add_paragraph(f"Epoch {self._epoch}{of}. " + ("This page refreshes itself every "
                           f"{refresh} seconds." if refresh else "Training has stopped."))
        page.add_links(page_links.links_of(self._folder, os.path.join(self.web_dir, "index.html")), page_links.OTHERS)
        if self._facts:
            page.add_facts(self._facts())
        for text in self._notes:
            page.add_note(text)
        if self._plotted:
            page.add_figure("images/loss.png", "Loss curves over the epochs")
        if self._validations_plotted:
            best = f"; the dotted line is the best checkpoint's, after epoch {self._best_epoch}" if self._best_epoch else ""
            page.add_figure("images/validation.png", f"Figures of held-out pictures over the epochs{best}")
        for epoch, labels in self._epochs_to_show():
            page.add_header(f"epoch [{epoch}]")
            files = [f"epoch{epoch:03d}_{label}.jpg" for label in labels]
            page.add_images(files, [label.replace("_", " ") for label in labels], files, self._width)
        page.save()

    def _epochs_to_show(self):
        """[(epoch, labels that have a picture)], newest first, without later epochs, which are an older run's."""
        found: dict[int, list[str]] = {}
        for file_name in os.listdir(os.path.join(self.web_dir, "images")):
            match = _EPOCH_PICTURE.match(file_name)
            if match and int(match[1]) <= self._epoch:
                found.setdefault(int(match[1]), []).append(match[2])
        place = {label: i for i, label in enumerate(self._labels)}
        return [(epoch, sorted(found[epoch], key=lambda label: (place.get(label, len(place)), label)))
                for epoch in sorted(found, reverse=True)]


def _flatten(visuals):
    """{label: picture or list of pictures} -> {label or label_i: picture}."""
    flat = {}
    for label, images in visuals.items():
        if isinstance(images, (list, tuple)):
            flat.update({f"{label}_{i}": image for i, image in enumerate(images)})
        else:
            flat[label] = images
    return flat
