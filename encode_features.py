"""Encode photos region by region, and cluster what is found into styles."""
from data.data_loader import CreateDataLoader
from models.models import create_model
from options import saved
from options.train_options import TrainOptions
from util.clusters import cluster, collect
from util.errors import command_line
from util.progress import Progress
from util.safe_pickle import save_dict


@command_line
def main():
    """Parse, build, encode, cluster."""
    opt = TrainOptions(role="encode").parse()
    loader = CreateDataLoader(opt)
    model = create_model(opt)
    folder = saved.experiment_folder(opt)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with Progress(len(loader)) as progress:
        for batch in loader.load_data():
            rows += model.encode(batch)
            progress.update(len(batch["path"]))
    features = collect(rows, range(opt.label_nc), opt.feat_num + 1)
    save_dict(folder / "features.npy", features)
    centres = cluster(features, opt.n_clusters, opt.seed)
    path = folder / f"features_clustered_{opt.n_clusters:03d}.npy"
    save_dict(path, centres)
    if not (folder / "opt.json").is_file():  # so that test.py knows what these weights are
        saved.write(opt)
    print(f"{len(rows)} pictures encoded: {sum(len(c) for c in centres.values())} styles of {len(centres)} classes in {path}")
    return 0


if __name__ == "__main__":
    main()
