"""The page of a training: how far it is, the same few pictures at every refresh and how they came to be, curves, epochs."""
from __future__ import annotations

import os
import re
import time
from typing import NamedTuple

import numpy as np
from PIL import Image

from util import page_facts, page_links
from util.files import make_folder
from util.html import HTML
from util.loss_log import rate_title
from util.util import safe_stem, save_image

_REFRESH = 30  # seconds
_EPOCH_PICTURE = re.compile(r"^epoch(\d{3,})_(.+)\.jpg$")
_THUMBNAIL = re.compile(r"^preview(\d+)_at(\d+)\.jpg$")
_PLOT_SHARE = 100  # curves are plotted again when a hundred times the duration of plotting has passed
_MOST_THUMBNAILS, _THUMBNAIL_SIDE = 12, 128
_DRAWN = "synthesized"  # how the labels of what a model draws begin


class Preview(NamedTuple):
    """The pictures that the page shows at every refresh. pictures: {name: {label: (H, W, 3) uint8}}."""

    heading: str
    text: str
    pictures: dict[str, dict[str, np.ndarray]]


class TrainingPage:
    """checkpoints/<name>/web/index.html. Of what it shows, a resumed training finds pictures again by their file names.

    history: the lines of the loss log so far (see `util.loss_log.read`). notes: lines that stand out at the top.
    validations: the entries of val_log.jsonl, and best_epoch, when the best checkpoint was.
    """

    def __init__(self, opt, folder, epoch_size=None, history=()):
        """opt: see `Visualizer`.      folder: checkpoints/<name>.      epoch_size: pictures in an epoch, or None."""
        self.history, self.notes, self.validations, self.best_epoch = list(history), [], [], None
        self._opt, self._folder, self._epoch_size = opt, folder, epoch_size
        self._web_dir = os.path.join(folder, "web")
        self._images = os.path.join(self._web_dir, "images")
        self._width = getattr(opt, "display_winsize", 512)
        self._epochs = getattr(opt, "niter", 0) + getattr(opt, "niter_decay", 0)
        self._started = page_facts.now()
        self._epoch = self._step = self._plotted = self._validations_plotted = 0
        self._plot_after = 0.0
        self._labels: list[str] = []
        self._preview: Preview | None = None

    def show(self, visuals, epoch, step, preview: Preview | None = None):
        """Save the newest pictures and write the page anew.

        Args:
            visuals: {label: (H, W, 3) uint8} of the last step.      epoch: from 1.      step: pictures trained on in all.
            preview: the pictures shown every time, as they are drawn now.
        """
        self._epoch, self._step, self._labels = epoch, step, [safe_stem(label) for label in visuals]
        make_folder(self._images)
        for label, image in visuals.items():
            save_image(image, os.path.join(self._images, f"epoch{epoch:03d}_{safe_stem(label)}.jpg"))
        self._preview = preview
        for i, columns in enumerate(preview.pictures.values() if preview else ()):
            self._save_preview(i, columns)
        self._plot()
        self._write(_REFRESH)

    def close(self, ended):
        """Draw the curves to the last line, and write the page for the last time. ended: how the training did."""
        if self._epoch:
            self._plot(now=True)
            self._write(0, ended)

    # the pictures that are shown every time

    def _save_preview(self, i, columns):
        """Save picture i in full size, and small as it is now, among those of earlier refreshes."""
        for label, image in columns.items():
            save_image(image, os.path.join(self._images, f"preview{i}_{safe_stem(label)}.jpg"))
        drawn = next((image for label, image in columns.items() if label.startswith(_DRAWN)), None)
        if drawn is None:
            return
        small = Image.fromarray(drawn)
        small.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
        save_image(np.asarray(small), os.path.join(self._images, f"preview{i}_at{self._step}.jpg"))
        steps = self._thumbnails(i)
        for step in set(steps) - set(kept_steps([step for step in steps if step <= self._step], _MOST_THUMBNAILS)):
            os.remove(os.path.join(self._images, f"preview{i}_at{step}.jpg"))

    def _thumbnails(self, i) -> list[int]:
        """When picture i was drawn, as far as it is still there; in pictures trained on."""
        found = [_THUMBNAIL.match(name) for name in os.listdir(self._images)]
        return sorted(int(match[2]) for match in found if match and int(match[1]) == i)

    def _add_preview(self, page):
        page.add_header(self._preview.heading)
        page.add_paragraph(self._preview.text)
        for i, (name, columns) in enumerate(self._preview.pictures.items()):
            files = [f"preview{i}_{safe_stem(label)}.jpg" for label in columns]
            page.add_images(files, [label.replace("_", " ") for label in columns], files, min(self._width, 256), heading=name)
            steps = self._thumbnails(i)
            page.add_strip([f"preview{i}_at{step}.jpg" for step in steps], [self._when(step) for step in steps], name)

    def _when(self, step) -> str:
        """'epoch 1.5': where in the training a picture was drawn; in pictures where the size of an epoch is not known."""
        if not self._epoch_size:
            return f"{step:,} pictures"
        epochs = step / self._epoch_size
        return f"epoch {epochs:.2g}" if epochs < 10 else f"epoch {epochs:.0f}"

    # the page

    def _plot(self, now=False):
        if len(self.validations) > self._validations_plotted:
            from util.plots import plot_validation
            if plot_validation(self.validations, self.best_epoch, os.path.join(self._images, "validation.png")):
                self._validations_plotted = len(self.validations)
        if len(self.history) == self._plotted or (not now and time.monotonic() < self._plot_after):
            return
        from util.plots import plot_losses
        started = time.monotonic()
        plot_losses(self.history, self._epoch_size, os.path.join(self._images, "loss.png"))
        self._plotted = len(self.history)
        self._plot_after = time.monotonic() + _PLOT_SHARE * (time.monotonic() - started)

    def _write(self, refresh, ended=""):
        page = HTML(self._web_dir, f"Experiment name = {self._opt.name}", refresh=refresh)
        page.add_paragraph(f"{self._progress()} {ended or f'This page refreshes itself every {refresh} seconds.'}")
        page.add_links(page_links.links_of(self._folder, os.path.join(self._web_dir, "index.html")), page_links.OTHERS)
        if hasattr(self._opt, "command"):
            page.add_facts(page_facts.of_options(self._opt, more=[("started", self._started)]))
        for text in self.notes:
            page.add_note(text)
        if self._preview and self._preview.pictures:
            self._add_preview(page)
        if self._plotted:
            page.add_figure("images/loss.png", "Loss curves over the epochs, and the learning rate")
        if self._validations_plotted:
            best = f"; the dotted line is the best checkpoint's, after epoch {self.best_epoch}" if self.best_epoch else ""
            page.add_figure("images/validation.png", f"Figures of held-out pictures over the epochs{best}")
        for epoch, labels in self._epochs_to_show():
            page.add_header(f"epoch [{epoch}]")
            files = [f"epoch{epoch:03d}_{label}.jpg" for label in labels]
            page.add_images(files, [label.replace("_", " ") for label in labels], files, self._width)
        page.save()

    def _progress(self) -> str:
        """How far the training is: 'Epoch 2 of 14; 152 pictures trained on; learning rate 0.0006.'"""
        of = f" of {self._epochs}" if self._epochs else ""
        rates = self.history[-1].get("rates", {}) if self.history else {}
        return "; ".join([f"Epoch {self._epoch}{of}", f"{self._step:,} pictures trained on",
                          *(f"{rate_title(name)} {rate:g}" for name, rate in rates.items())]) + "."

    def _epochs_to_show(self):
        """[(epoch, labels that have a picture)], newest first, without later epochs, which are an older run's."""
        found: dict[int, list[str]] = {}
        for file_name in os.listdir(self._images):
            match = _EPOCH_PICTURE.match(file_name)
            if match and int(match[1]) <= self._epoch:
                found.setdefault(int(match[1]), []).append(match[2])
        place = {label: i for i, label in enumerate(self._labels)}
        return [(epoch, sorted(found[epoch], key=lambda label: (place.get(label, len(place)), label)))
                for epoch in sorted(found, reverse=True)]


def kept_steps(steps: list[int], most: int) -> list[int]:
    """At most `most` of some steps, in order, the first and the last among them; what is closest to its neighbours goes first.

    Distances are those of the square roots, as pictures change most at the start of a training.
    """
    steps = list(steps)
    while len(steps) > most:
        roots = np.sqrt(steps)
        del steps[1 + int((roots[2:] - roots[:-2]).argmin())]
    return steps
