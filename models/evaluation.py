"""What evaluate.py measures: pictures that a model draws, and by which metrics."""
from __future__ import annotations

from pathlib import Path

from data.data_loader import CreateDataLoader, collate
from data.evaluated_folders import FolderPictures
from models import weights
from models.models import create_model, model_class
from util import distributed, page_facts, page_links
from util.errors import UserError
from util.experiment import experiment_folder
from util.files import file_hash, fingerprint
from util.metrics.compared_data import ComparedData
from util.metrics.registry import Available
from util.util import safe_stem

LEAST = 2  # pictures
# flags that change no figure
_WITHOUT_EFFECT = ("name", "checkpoints_dir", "gpu_ids", "local_rank", "nThreads", "verbose", "results_dir", "display_winsize",
                   "tf_log", "wandb", "export_onnx", "out", "compare",
                   "inception_weights", "lpips_weights", "parser", "attributes_model")  # of which the hash is among the sources


class DrawnPictures:
    """The pictures of the options' model and data set, to be measured as they are drawn.

    They aim at the truth, each with its own photo's features where the model takes any, unless the flags choose styles:
    aimed says which. count: of all pictures. share: how many of them this process draws.
    """

    def __init__(self, opt):
        """Raises UserError for data or weights that are missing or do not fit."""
        aimed = model_class(opt.model).aimed(opt)
        self.aimed, self.opt = aimed is not None, aimed or opt
        self.loader, self.model = CreateDataLoader(self.opt), create_model(self.opt)
        self.dataset = self.loader.dataset
        self.count, self.share = len(self.loader), self.loader.share
        self.has_true, self.has_label = self.dataset.has("image"), bool(opt.label_nc) and self.dataset.has("label")
        self.asked = "attributes" in self.model.abilities
        self.looks, self.device = getattr(opt, "n_samples", 1), self.model.device

    def rows(self, done: int = 0):
        """This process's pictures but the first `done`, some at a time: (names, what is measured of each, as MetricSet.add)."""
        for batch in self.loader.epoch(1, done):
            outputs = self._draw(batch)
            looks = self._looks(batch, outputs)
            rows = [self.model.compared(batch, outputs, i) for i in range(len(batch["name"]))]
            if looks:
                rows = [{**row, "looks": self.model.looks(batch, looks, i)} for i, row in enumerate(rows)]
            yield batch["name"], rows

    def _draw(self, batch):
        return self.model.aimed_inference(batch) if self.aimed else self.model.inference(batch)

    def _looks(self, batch, outputs):
        """What --n_samples asks for; where the pictures aim at the truth, as all looks then do, others in sampled styles."""
        if self.looks < 2:
            return None
        return self.model.sampled_inference(batch) if self.aimed else outputs

    def visuals(self, name: str) -> dict:
        """One picture drawn again, for a page: {what: (H, W, 3) uint8}."""
        batch = collate([self.dataset[self.dataset.names.index(name)]])
        return self.model.result_visuals(batch, self._draw(batch), 0)

    def metrics(self, available: Available):
        """The metrics that --metrics asks for, as far as they can be had; see `registry.create`."""
        return self.model.evaluation_metrics(self.opt.metrics, available)

    def introduce(self, page, path, more=()) -> None:
        """Add to a page what it says of itself, and links; see `util.page_facts`."""
        page_facts.introduce(page, path, self.opt, self.model, more)
        page_links.record(experiment_folder(self.opt), path, f"Evaluation: {self.opt.phase}_{self.opt.which_epoch}")

    @property
    def notes(self) -> list[str]:
        """What the model has to say of its drawings."""
        return self.model.notes

    def sources(self) -> dict[str, str]:
        """{file of weights or styles: its hash}."""
        return self.model.sources()

    def data(self) -> str:
        """A hash that tells data files that have changed since."""
        return fingerprint(self.dataset.item_files())


def open_pictures(opt):
    """The pictures that the options name: a model's, or those of --results or --fake. Raises UserError for a single one."""
    pictures = FolderPictures(opt) if opt.results or opt.fake else DrawnPictures(opt)
    if pictures.count < LEAST:
        what = f"--results {opt.results}" if opt.results else f"--fake {opt.fake}" if opt.fake else f"--dataroot {opt.dataroot}"
        raise UserError(f"{what}: holds one picture; figures are of {LEAST} or more")
    return pictures


def open_metrics(opt, pictures):
    """(the metrics asked for, as far as they can be had, {weights that they use: hash}).

    With them goes what tells the data of one evaluation from that of another. Raises UserError for those that do not fit.
    """
    parser = load_parser(opt) if opt.parser else None
    oracle = load_oracle(opt) if opt.attributes_model else None
    available = Available(pairs=pictures.aimed, true=pictures.has_true, label=pictures.has_label, spec=opt.spec, parser=parser,
                          asked=pictures.asked, oracle=oracle, looks=pictures.looks, inception_weights=opt.inception_weights,
                          lpips_weights=opt.lpips_weights, seed=opt.seed, device=pictures.device)
    if not distributed.is_main():
        distributed.barrier()  # the first process fetches weights that all then find
    metrics = pictures.metrics(available)
    if distributed.is_main():
        distributed.barrier()
    metrics.metrics["compared_data"] = ComparedData()
    used = {f"{flag} {path}": file_hash(path) for flag, path in (("--inception_weights", opt.inception_weights),
                                                                 ("--lpips_weights", opt.lpips_weights)) if path}
    if parser is not None:
        used[f"--parser {opt.parser}"] = weights.digest(parser.net.state_dict())
    if oracle is not None:
        used[f"--attributes_model {opt.attributes_model}"] = weights.digest(oracle.model.nets["A"].state_dict())
    return metrics, used


def folder_of(opt) -> Path:
    """Where evaluation.json goes: --out, else beside the page of test.py."""
    if opt.out or opt.results:
        return Path(opt.out or opt.results)
    name = (safe_stem(Path(opt.fake).resolve().name),) if opt.fake else (opt.name, f"{opt.phase}_{opt.which_epoch}")
    return Path(opt.results_dir).joinpath(*name)


def sources_of(opt, pictures, metrics, used: dict[str, str]) -> dict[str, str]:
    """{what: its hash or value} of all that the figures follow from: an evaluation goes on only where all are the same.

    metrics, used: as `open_metrics` gives them.
    """
    flags = {f"--{name}": str(value) for name, value in opt.flags().items() if name not in _WITHOUT_EFFECT}
    settings = {f"the metric {name}": str(metric.settings) for name, metric in metrics.metrics.items()}
    return {**pictures.sources(), **used, **flags, **settings, "the data": pictures.data(),
            "what was not computed": ", ".join(metrics.not_computed)}


def described(opt, pictures, used: dict[str, str]) -> dict:
    """The part of evaluation.json that says what was measured."""
    name = opt.results or opt.fake or opt.name
    title = f"the pictures in {name}" if opt.results or opt.fake else f"{opt.name}, {opt.phase}, {opt.which_epoch}"
    return {"name": name, "title": title, "phase": opt.phase, "epoch": opt.which_epoch, "dataroot": opt.dataroot,
            "pictures": pictures.count, "aimed": pictures.aimed, "weights": {**pictures.sources(), **used}}


def load_parser(opt):
    """The face parser of --parser: a folder, a file, or the name of an experiment. Raises UserError naming the flag."""
    from models.face_parser import FaceParser
    return _loaded(FaceParser, opt, "parser")


def load_oracle(opt):
    """The classifier of --attributes_model: a folder, or the name of an experiment. Raises UserError naming the flag."""
    from models.attributes_model import AttributeOracle
    return _loaded(AttributeOracle, opt, "attributes_model")


def _loaded(kind, opt, flag: str):
    text = getattr(opt, flag)
    named = Path(opt.checkpoints_dir) / text
    place = named if named.is_dir() and not Path(text).exists() else Path(text)
    try:
        return kind.load(place, gpu_ids=",".join(map(str, opt.gpu_ids)) or "-1")
    except UserError as error:
        raise UserError(f"--{flag} {text}: {error}") from error
