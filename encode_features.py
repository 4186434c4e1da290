"""Encode photos region by region, cluster what is found into styles, and draw a page of them.

    python encode_features.py --name faceIm
    python encode_features.py --name mine --dataroot datasets/mine --load_pretrain checkpoints/faceIm
"""
import startup  # noqa: F401 - before torch
from data.data_loader import CreateDataLoader
from data.grouping import grouped
from models.models import create_model
from models.styles.book import FILE_NAME, StyleBook
from models.styles.clusters import FeatureTable
from models.styles.sheet import draw_sheet
from options import saved
from options.train_options import TrainOptions
from util import distributed
from util.device import device_of
from util.errors import UserError, command_line
from util.progress import Progress
from util.run_files import RunFiles
from util.safe_pickle import save_dict

AT_ONCE = 16  # pictures, where --batchSize says nothing


@command_line
def main():
    """Parse, build, encode, cluster, show."""
    opt = TrainOptions(role="encode").parse()
    distributed.start(device_of(opt.gpu_ids))
    loader = CreateDataLoader(opt)
    model = create_model(opt)
    folder = saved.experiment_folder(opt)
    folder.mkdir(parents=True, exist_ok=True)
    shares = distributed.gather((encode(opt, loader, model), model.notes))
    if not distributed.is_main():
        return 0
    table = joined(shares)
    sheet = RunFiles(folder / "styles")
    sheet.clear()  # that of earlier styles
    book = write(opt, folder, table, model.encoder_digest())
    if not opt.no_style_sheet:
        show(model, loader.dataset, table, book, sheet)
    if strangers := sheet.strangers():
        print(strangers)
    return 0


def joined(shares) -> FeatureTable:
    """The rows of all processes; and what their models have to say."""
    (table, _), *others = shares
    for other, _ in others:
        table.extend(other)
    for note in dict.fromkeys(note for _, notes in shares for note in notes):
        print(note)
    return table


def write(opt, folder, table, encoder) -> StyleBook:
    """Cluster the rows, and write them with what was found. encoder: its digest."""
    save_dict(folder / "features.npy", table.as_dict())
    path = folder / f"features_clustered_{opt.n_clusters:03d}.npy"
    book = StyleBook.find(table, path.name, opt.n_clusters, opt.seed, opt.spec.name_of, opt.use_vae, encoder)
    centres = book.centres()
    save_dict(path, centres)
    book = book.with_files(folder)
    book.write(folder / FILE_NAME)
    if not (folder / "opt.json").is_file():  # so that test.py knows what these weights are
        saved.write(opt.replace(**{key: False for key, source in opt.sources.items() if source == "encoding"}))
    print(f"{len(table.names)} pictures encoded: {sum(map(len, centres.values()))} styles of {len(centres)} classes in {path}")
    return book


def encode(opt, loader, model) -> FeatureTable:
    """The rows of every picture; of several processes, of this one's pictures."""
    table = FeatureTable(range(opt.label_channels), opt.feat_num + 1)
    at_once = opt.batchSize if opt.sources["batchSize"] == "command line" else AT_ONCE
    with Progress(loader.share) if distributed.is_main() else distributed.Quiet() as progress:
        for batch in grouped(loader.load_data(), at_once):
            table.add(batch["name"], model.encode(batch))
            progress.update(len(batch["name"]))
    return table


def show(model, dataset, table, book, files):
    """Draw the style sheet, where the generator is at hand; encoding itself does not need one."""
    try:
        if not model.load_generator():
            print("No style sheet: there is no generator beside the encoder")
            return
    except UserError as error:
        print(f"No style sheet: {error}")
        return
    print(f"Style sheet: {draw_sheet(model, dataset, table, book, files)}")


if __name__ == "__main__":
    main()
