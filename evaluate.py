"""Measure drawn pictures: how near they are to the true ones, and whether they show what their label maps say.

    python evaluate.py --name faceIm
    python evaluate.py --fake DIR --real DIR
    python evaluate.py --compare faceIm faceIm_longer
"""
import time
from pathlib import Path

import startup  # noqa: F401 - before torch
from options.evaluate_options import EvaluateOptions, argv_of
from util import comparison_page, distributed
from util.command_line import command_line
from util.comparison import compared, markdown, tables
from util.device import device_of
from util.errors import UserError
from util.evaluation import FOLDER, RECORD, Journal, found, joined, measure, read_record, recorded, shown, signed
from util.evaluation_page import save_pictures, write_page
from util.files import make_folder, write_json
from util.lazy import LazyModule
from util.util import safe_stem

registry, measured = LazyModule("util.metrics.registry"), LazyModule("models.evaluation")  # --help need not wait for torch


@command_line
def main():
    """Parse, measure, tell."""
    opt = EvaluateOptions().parse()
    registry.choose(opt.metrics)  # before anything is read
    distributed.start(device_of(opt.gpu_ids))
    if opt.compare:
        compare(opt)
    else:
        evaluate(opt)
    return 0


def evaluate(opt, again=True) -> dict | None:
    """Measure what the options name, or with again=False take what an evaluation of the same has found.

    Writes evaluation.json and its page, and gives the former's content; None in all processes but the first.
    """
    start = time.monotonic()
    pictures = measured.open_pictures(opt)
    metrics, used = measured.open_metrics(opt, pictures)
    folder, sources = measured.folder_of(opt), measured.sources_of(opt, pictures, metrics, used)
    record = None if again else distributed.broadcast_result(lambda: recorded(folder, sources))
    if record:
        return record
    journal = Journal(make_folder(folder / FOLDER), sources)
    measure(pictures, metrics, journal)
    metrics = joined(metrics)
    if metrics is None:
        return None
    figures = found(metrics)
    record = {**signed(opt.command, opt.seed, time.monotonic() - start, sources),
              **measured.described(opt, pictures, used), **figures}
    record["notes"] = [*pictures.notes, *record["notes"]]
    record["shown"] = save_pictures(folder / FOLDER, record, pictures.visuals)
    write_json(folder / RECORD, record)
    journal.forget()
    tell(record, write_page(folder / FOLDER, record, pictures.introduce))
    return record


def tell(record, page):
    """Show the figures on the console."""
    for key, figure in record["figures"].items():
        print(f"{figure['title']}: {shown(record['values'][key], figure)}")
    for name, why in record["not_computed"].items():
        print(f"{name}: not computed: {why}")
    print(f"Page: {page}")


def compare(opt):
    """Put evaluations side by side; what has not been evaluated yet, or has changed since, is evaluated first."""
    there = [(Path(name) / RECORD).is_file() for name in opt.compare]
    for name, is_there in zip(opt.compare, there):
        if not is_there and Path(name).name != name:
            raise UserError(f"--compare {name}: holds no {RECORD}; name an experiment, or a folder that evaluate.py wrote into")
    records, folders = [], []
    for name, is_there in zip(opt.compare, there):
        if is_there:
            records.append(read_record(name))
            folders.append(Path(name))
        else:
            of_name = EvaluateOptions().parse(argv_of(opt, name))
            records.append(evaluate(of_name, again=False))
            folders.append(measured.folder_of(of_name))
    if not distributed.is_main():
        return
    records = [{**record, "name": name} for name, record in zip(opt.compare, records)]
    comparison = compared(records, opt.seed)
    for title, headings, rows in tables(comparison):
        print(f"\n{title}\n\n{markdown(headings, rows)}")
    folder = Path(opt.out or Path(opt.results_dir) / "comparisons" / safe_stem("_vs_".join(map(safe_stem, opt.compare))))
    print(f"\nPage: {comparison_page.write_page(folder, comparison, records, folders, opt.command)}")


if __name__ == "__main__":
    main()
