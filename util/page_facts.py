"""How a page was made, to be shown on it: the command, weights and precision, the data, the date, the versions.

    introduce(page, "results/faceIm/test_latest/index.html", opt, model)      # a util.html.HTML, or a ResultPage
    page.add_facts(of_command(module_command("datasets.parse_faces"), [("weights", "checkpoints/parser")]))
"""
from __future__ import annotations

import shlex
import sys
import time

from util import page_links
from util.experiment import experiment_folder, versions


def introduce(page, path, opt, model=None, more=()) -> None:
    """Add facts (see `of_options`) and links to the experiment's other pages to a page that will be written to `path`."""
    page.add_links(page_links.links_of(experiment_folder(opt), path), page_links.OTHERS)
    page.add_facts(of_options(opt, model, more))


def of_options(opt, model=None, more=()) -> list[tuple[str, str]]:
    """Facts [(name, text), ...] of a command with parsed options.

    model: the model that was loaded for test or encoding. more: additional facts.
    """
    rows = [("data", f"{opt.dataroot}, {opt.phase}"), ("seed", str(opt.seed)), *more]
    if model is not None:
        rows = [*weights_rows(model.weights_used()), ("drawn with", model.drawn_with()), *rows]
    return of_command(f"python {opt.command}", rows)


def of_command(command: str, rows=()) -> list[tuple[str, str]]:
    """Facts of any command: the command, `rows`, date and versions; those without text are left out."""
    made_by = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    return [(name, text) for name, text in [("command", command), *rows, ("date", now()), ("versions", made_by)] if text]


def module_command(module: str, arguments=None) -> str:
    """The command line of a module run by `python -m`. arguments: default: those of this process."""
    return shlex.join(["python", "-m", module, *map(str, sys.argv[1:] if arguments is None else arguments)])


def weights_rows(used: dict) -> list[tuple[str, str]]:
    """The facts of `BaseModel.weights_used`."""
    averaged = ", averages of --ema" if used["averaged"] else ""
    hashes = ", ".join(f"{name} {digest}" for name, digest in used["hashes"].items())
    return [("weights", f"{used['experiment']}, {used['epoch']}{averaged}"), ("trained", trained_line(used)),
            ("SHA-256 of the weights", hashes)]


def trained_line(used: dict) -> str:
    """'14 epochs (1,344 pictures, 336 steps)', and the experiment if the weights were copied from another; '' if unknown."""
    found = used["trained"]
    if not found:
        return f"epoch {used['epoch']}" if used["epoch"].isdigit() else ""
    begun = f" and {found['done']:,} pictures" if found["done"] else ""
    copied = f" as {found['experiment']}" if found["experiment"] != used["experiment"] else ""
    epochs = found["epoch"] - 1
    return (f"{epochs} epoch{'' if epochs == 1 else 's'}{begun} ({found['total']:,} pictures, {found['steps']:,} steps)"
            f"{copied}")


def now() -> str:
    """The date and time as text."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
