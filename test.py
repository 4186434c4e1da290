"""Draw photos from label maps, and write a page to look at them.

    python test.py --name faceIm --use_encoded_image
    python test.py --name faceIm --style hair=3 --how_many 200
"""
from pathlib import Path

import startup  # noqa: F401 - before torch
from data.data_loader import CreateDataLoader
from data.image_files import is_video
from models.models import create_model, require
from models.predictor import Predictor
from options.test_options import TestOptions
from util import distributed, page_facts, page_links
from util.background import Background
from util.command_line import command_line
from util.device import device_of
from util.errors import UserError
from util.experiment import experiment_folder
from util.progress import DrawingProgress, Progress
from util.result_page import ResultPage
from util.util import legend_entries
from util.visualizer import Visualizer

INTERRUPTED = "Interrupted: here is what was drawn until then."

@command_line
def main():
    """Parse, build, draw."""
    opt = TestOptions().parse()
    distributed.start(device_of(opt.gpu_ids))
    if getattr(opt, "targets", "") and (opt.frames or is_video(opt.targets)):
        return draw_video(opt) if distributed.is_main() else 0
    if opt.export_onnx:
        if distributed.is_main():
            require(opt, "export_onnx")
            create_model(opt).export_onnx(opt.export_onnx)
        return 0
    loader = CreateDataLoader(opt)
    predictor = Predictor(opt)
    folder = Path(opt.results_dir) / opt.name / f"{opt.phase}_{opt.which_epoch}"
    title = f"Experiment = {opt.name}, Phase = {opt.phase}, Epoch = {opt.which_epoch}"
    with ResultPage(folder, title, width=opt.display_winsize) as page:
        page.marks = predictor.model.marks_pictures
        if distributed.is_main():
            page.files.clear()
        distributed.barrier()  # before any of the processes writes there
        page.reserve(loader.names_of_lower_ranks())
        shares = distributed.gather(draw(opt, loader, predictor, page))
        if distributed.is_main():
            finish(opt, loader, predictor.model, page, shares)
    print(f"Page: {folder / 'index.html'}")
    return 130 if INTERRUPTED in predictor.model.notes else 0


def draw_video(opt):
    """Swap the face of a video, or of a folder of frames. Broken off, the same command goes on."""
    from models.swapping.video import count_frames, swapped_file
    if not opt.source:
        raise UserError(f"--targets {opt.targets}: says whose faces are exchanged; give the new one with --source PHOTO")
    out = swapped_file(Path(opt.results_dir) / opt.name / f"video_{opt.which_epoch}", opt.targets)
    predictor = Predictor(opt)
    with Progress(count_frames(opt.targets), unit="frames") as bar:
        try:
            frames = predictor.swap_video(opt.source, opt.targets, out, progress=bar.to)
        except KeyboardInterrupt:
            print("Interrupted: the same command goes on where it stopped.")
            return 130
    for note in predictor.model.notes:
        print(note)
    print(f"Video: {out}, {frames} frames")
    return 0


def draw(opt, loader, predictor, page):
    """Draw every picture asked for, or this process's share.

    Each is measured and shown in the background while the next one is drawn. Gives its rows of the page, its metrics, the
    classes it shows, and the model's notes. Ctrl-C ends it with what is there.
    """
    model = predictor.model
    metrics = model.new_metrics() if model.aims_at_truth() else None
    classes, visualizer = set(), Visualizer(opt)

    def show(batch, outputs):
        for i, name in enumerate(batch["name"]):
            print(f"process image... {batch['path'][i]}")
            visuals = model.result_visuals(batch, outputs, i)
            pair = model.compared(batch, outputs, i, visuals)
            figures = metrics.add(name, **pair) if metrics is not None and "true" in pair else {}
            visualizer.save_images(page, visuals, name, figures=figures)
            classes.update(loader.dataset.legend(batch, i), model.shown_classes(outputs, i))

    try:
        with Background() as background, DrawingProgress(loader.share, shown=distributed.is_main()) as model.on_step:
            for batch in loader.load_data():
                background.do(show, batch, predictor.draw(batch))
    except KeyboardInterrupt:
        model.notes.append(INTERRUPTED)
    return page.finished_rows(), metrics, classes, model.notes


def finish(opt, loader, model, page, shares):
    """Write the page and metrics.json from the shares of all processes, the first of which is this one's."""
    (_, metrics, classes, notes), *others = shares
    for rows, figures, shown, more in others:
        page.extend(rows)
        classes.update(shown)
        if metrics:
            metrics.extend(figures)
        notes = [*notes, *more]
    if others:
        print(f"{len(shares)} processes drew {len(loader)} pictures")  # of which this one named its own
    if len(loader) < len(loader.dataset) and INTERRUPTED not in notes:
        notes = [*notes, stopped_early(opt, len(loader), len(loader.dataset))]
    for note in dict.fromkeys(notes):
        page.note(note)
        print(note)
    if opt.label_nc and opt.spec.class_names:
        page.set_legend(legend_entries(list(classes), opt.label_channels, opt.spec.class_names, opt.spec.class_colors))
    if metrics and metrics.summary()["pictures"]:
        page.set_metrics(metrics.summary())
        with page.files.writing("metrics.json") as path:
            metrics.write(path, **model.more_figures)
        summary = metrics.summary()
        print(", ".join(f"{key} {value:.3f}" for key, value in summary.items() if isinstance(value, float)))
        model.more_pages(page, metrics)
    index = page.files.folder / "index.html"
    page_facts.introduce(page, index, opt, model)
    page.save()
    page_links.record(experiment_folder(opt), index, f"{Path(opt.results_dir).resolve().name}: {index.parent.name}")
    if strangers := page.files.strangers():
        print(strangers)


def stopped_early(opt, drawn, available) -> str:
    """Which flag ended the test before the data did."""
    bounds = {"--how_many": opt.how_many, "--ntest": opt.ntest, "--max_dataset_size": opt.max_dataset_size}
    flag = min(bounds, key=bounds.get)
    return f"Drew {drawn} of {available} pictures, as {flag} {bounds[flag]} asks; raise it to draw more."


if __name__ == "__main__":
    main()
