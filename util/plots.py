"""Plots of losses and validation figures, legible on small screens too."""
from __future__ import annotations

import math

import numpy as np

from util.files import atomic_path
from util.loss_log import rate_title, series

_MOST_POINTS = 600  # more than a panel has pixels across
_COLOURS = ("#2563b0", "#c2562d", "#3f8f5f", "#8a4fa3")
_INK, _FAINT = "#3c4046", "#d9dce1"


def plot_losses(history, epoch_size, path, title=None) -> bool:
    """Plot every term of the log over the epochs: a faint line for the values, a strong one for their moving mean.

    Generator terms have a panel each, as their scales differ; the discriminator's share one, to be compared. The learning rate
    comes last.

    Args:
        history: list of {'epoch', 'iters', 'terms', 'rates'} (see `util.loss_log.read`), in order; 'rates' may be missing.
        epoch_size: pictures in an epoch; None takes the largest `iters` seen.
        path: where to write; the suffix (.png, .svg) says the format.

    Returns:
        Whether there was anything to draw; where not, no file is written.

    Raises:
        UserError: the file cannot be written.
    """
    groups = [(history, names) for names in panels(history)]
    if not groups:
        return False
    rates = [{**entry, "terms": {rate_title(name): rate for name, rate in entry.get("rates", {}).items()}} for entry in history]
    names = list(dict.fromkeys(name for entry in rates for name in entry["terms"]))
    _draw(groups + [(rates, names)] * bool(names), epoch_size or max(entry["iters"] for entry in history) or 1, path, title)
    return True


def plot_validation(entries, best_epoch, path) -> bool:
    """Draw each figure of the validations over the epochs, the best checkpoint's epoch as a line.

    Args:
        entries: list of {'epoch', 'values': {figure: number or None}}, in order.      best_epoch: None without one.
        path: where to write.

    Returns:
        Whether there was anything to draw. Raises UserError as `plot_losses` does.
    """
    history = [{"epoch": one["epoch"] + 1, "iters": 0, "terms": {k: v for k, v in one["values"].items() if v is not None}}
               for one in entries]  # after an epoch is where the next one begins
    names = list(dict.fromkeys(name for entry in history for name in entry["terms"]))
    if names:
        _draw([(history, [name]) for name in names], 1, path, mark=best_epoch)
    return bool(names)


def plot_curve(points, path, across, up) -> None:
    """Draw points (n, 2) in [0, 1] as a curve. across, up: what the axes are. Raises UserError as `plot_losses` does."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and few scripts plot
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4, 3.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(*np.asarray(points).T, color=_COLOURS[0], linewidth=1.7)
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01))
    axes.set_xlabel(across, fontsize=9, color=_INK)
    axes.set_ylabel(up, fontsize=9, color=_INK)
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=_INK, length=0)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=160)


def panels(history) -> list[list[str]]:
    """The terms of each panel: [['G_GAN'], ['G_VGG'], ['D_real', 'D_fake']], in the order of the log."""
    names = list(dict.fromkeys(name for entry in history for name in entry["terms"]))
    alone = [[name] for name in names if not name.startswith("D_")]
    together = [name for name in names if name.startswith("D_")]
    return alone + ([together] if together else [])


def moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Moving mean over `window` (odd) values, truncated at the ends. (n,) -> (n,) float64."""
    half = window // 2
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    at = np.arange(len(values))
    first, after = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    return (sums[after] - sums[first]) / (after - first)


def thin(positions: np.ndarray, values: np.ndarray, most: int = _MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Downsample to at most `most` points: the minimum and maximum of each bin, which keeps spikes."""
    n = len(values)
    if n <= most:
        return positions, values
    edges = np.linspace(0, n, most // 2 + 1).astype(int)
    keep = sorted({start + pick for start, end in zip(edges[:-1], edges[1:])
                   for pick in (int(values[start:end].argmin()), int(values[start:end].argmax()))})
    return positions[keep], values[keep]


def _draw(groups, epoch_size, path, title=None, mark=None):
    """Write a figure of two panels a row. groups: [(history, names of the terms in the panel)]. mark: an epoch to mark."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and few scripts plot
    from matplotlib.figure import Figure

    columns = min(2, len(groups))
    rows = math.ceil(len(groups) / columns)
    # 5.4 inches wide: letters of 9 points are at least 8 pixels high when the picture is shown 350 pixels wide
    figure = Figure(figsize=(5.4, 1.75 * rows + (0.3 if title else 0)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=10, color=_INK, x=0.02, ha="left")
    for place, (history, names) in enumerate(groups):
        axes = figure.add_subplot(rows, columns, place + 1)
        _draw_panel(axes, history, names, epoch_size, last=place + columns >= len(groups))
        if mark is not None:
            axes.axvline(mark, color=_INK, linewidth=0.8, linestyle=":")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=240)


def _draw_panel(axes, history, names, epoch_size, last):
    for name, colour in zip(names, _COLOURS * len(names)):
        positions, values = (np.asarray(column) for column in series(history, name, epoch_size))
        if not len(values):
            continue
        mean = moving_mean(values, window=2 * (len(values) // 60) + 1)
        if len(values) >= 60:
            axes.plot(*thin(positions, values), color=colour, alpha=0.25, linewidth=0.7)
        axes.plot(*thin(positions, mean), color=colour, linewidth=1.7, label=name,
                  marker="o" if len(values) < 3 else None, markersize=3)
        _limit_y_axis(axes, values, mean)
    axes.set_title("  ".join(names) if len(names) == 1 else "", fontsize=9.5, color=_INK, loc="left", pad=4)
    if len(names) > 1:
        axes.legend(fontsize=9, loc="lower left", bbox_to_anchor=(-0.02, 0.98), ncols=len(names), frameon=False,
                    borderpad=0, handlelength=1.1, columnspacing=1.0, labelcolor=_INK)
    axes.margins(x=0.01)
    axes.grid(axis="y", color=_FAINT, linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.tick_params(labelsize=9.5, colors=_INK, length=0)
    axes.locator_params(nbins=4)
    if last:
        axes.set_xlabel("epochs", fontsize=9, color=_INK)


def _limit_y_axis(axes, values, mean):
    """Limit the y axis to quantiles of the values, as the first losses are often ten times the others."""
    if len(values) < 60:
        return
    low, high = min(values.min(), mean.min()), max(np.quantile(values, 0.99), np.quantile(mean, 0.995))
    margin = 0.06 * (high - low) or 0.1
    bounds = getattr(axes, "_loss_bounds", None)
    low, high = low - margin, high + margin
    if bounds:
        low, high = min(low, bounds[0]), max(high, bounds[1])
    axes._loss_bounds = (low, high)
    axes.set_ylim(low, high)
