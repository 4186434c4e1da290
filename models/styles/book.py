"""styles.json: the styles of each class that encode_features.py found, read by test.py and shown on the style sheet."""
from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from models.styles.clusters import SMALLEST, FeatureTable, class_centres, nearest_centre
from models.styles.persons import Persons, finite
from util.errors import UserError
from util.files import read_json, write_json

FILE_NAME = "styles.json"
_REMEDY = "make it again with encode_features.py"


@dataclass(frozen=True)
class ClassStyles:
    """The styles of one class.

    centres: (k, d) cluster centres, largest cluster first; the index is the number that --style takes.
    shares, spreads: (k,) each, the share of the class's regions in the cluster, and their RMS distance from its centre.
    nearest: the names of the k pictures nearest to the centres.
    regions: number of encoded regions. clustered: number of those that were clustered.
    small: whether all regions are below `clusters.SMALLEST`, so that the file of clusters lacks the class.
    gaussian: (mean (d,), covariance (d, d)) of a VAE's mu, in files that are older than `StyleBook.persons`, else None.
    """

    label: int
    name: str
    centres: np.ndarray
    shares: np.ndarray
    spreads: np.ndarray
    nearest: list[str]
    regions: int
    clustered: int
    small: bool
    gaussian: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class StyleBook:
    """The styles of all classes that occur.

    clusters: name of the file of clusters that was written with it. encoder: `weights.digest` of the encoder that computed the
    features; '' if unknown. files: {file of clusters: (SHA-256 of its bytes, digest of its encoder)}, of earlier runs too; it
    is kept here, as pix2pixHD's format of those files has no place for it. persons: the Gaussian over the styles of all
    classes; None in files that are older than it.
    """

    clusters: str
    feat_num: int
    classes: dict[int, ClassStyles] = field(default_factory=dict)
    encoder: str = ""
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    persons: Persons | None = None

    @classmethod
    def find(cls, table: FeatureTable, clusters: str, n_clusters: int, seed: int, name_of, encoder: str = "") -> StyleBook:
        """Cluster a table of rows (features, then size).

        name_of: maps a class id to its name. encoder: its digest.
        A class whose regions are all too small for the file of clusters is clustered over all of them, so that its styles can
        be shown and chosen like the others.
        """
        classes = {}
        for label in table.labels:
            rows, pictures = table.rows(label), table.pictures(label)
            large = rows[:, -1] > SMALLEST
            used = large if large.any() else np.ones(len(rows), bool)
            if not len(rows):
                continue
            points, names = rows[used, :-1], [table.names[i] for i in pictures[used]]
            centres = class_centres(points, n_clusters, seed, label)
            classes[label] = _describe(label, name_of(label), points, names, centres, len(rows), not large.any())
        return cls(clusters, table.columns - 1, classes, encoder, persons=Persons.find(table, seed))

    def with_files(self, folder) -> StyleBook:
        """A copy whose `files` has this run's file of clusters in `folder`, and earlier ones that are unchanged since."""
        folder, before = Path(folder), {}
        with contextlib.suppress(UserError):  # no styles.json, or a broken one, which is about to be replaced
            before = StyleBook.read(folder / FILE_NAME).files
        files = {path.name: (_sha256(path), self.encoder) for path in [folder / self.clusters]}
        files.update((name, known) for name, known in before.items()
                     if name not in files and (folder / name).is_file() and _sha256(folder / name) == known[0])
        return replace(self, files=dict(sorted(files.items())))

    def encoder_of(self, path: Path) -> str:
        """The digest of the encoder that a file of clusters was made with; '' if unknown, as for files that pix2pixHD wrote."""
        known, encoder = self.files.get(path.name, ("", ""))
        return encoder if known and known == _sha256(path) else ""

    def owns(self, path: Path) -> bool:
        """Whether a file of clusters is the one that was written with this styles.json, unchanged."""
        return path.name == self.clusters and (path.name not in self.files or self.files[path.name][0] == _sha256(path))

    def centres(self, small: bool = False) -> dict[int, np.ndarray]:
        """{class: (k, d)} of the classes in the file of clusters; with `small`, of those that it lacks."""
        return {label: found.centres for label, found in self.classes.items() if found.small == small}

    def shares(self) -> dict[int, np.ndarray]:
        """{class: (k,)}, the share of each style."""
        return {label: found.shares for label, found in self.classes.items()}

    def write(self, path) -> None:
        """Write the book as JSON. The same book gives the same bytes."""
        files = {name: {"sha256": known, "encoder": encoder} for name, (known, encoder) in self.files.items()}
        whole = {"photos": self.persons.photos, "factors": self.persons.factors.rank} if self.persons else None
        classes = {found.name: _plain(found, self.persons) for found in self.classes.values()}
        write_json(path, {"version": 1, "clusters": self.clusters, "feat_num": self.feat_num, "encoder": self.encoder,
                          "files": files, **({"persons": whole} if whole else {}), "classes": classes})

    @classmethod
    def read(cls, path) -> StyleBook:
        """Read what `write` wrote. Raises UserError naming the file for anything else."""
        raw = read_json(Path(path))
        try:
            feat_num = int(raw["feat_num"])
            found = [_parse(name, entry, feat_num) for name, entry in raw["classes"].items()]
            files = {str(name): (str(known["sha256"]), str(known["encoder"])) for name, known in raw.get("files", {}).items()}
            if len({one.label for one in found}) < len(found):
                raise ValueError("two classes of one id")
            return cls(str(raw["clusters"]), feat_num, {one.label: one for one in found}, str(raw.get("encoder", "")), files,
                       _persons(raw, feat_num))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"{path}: is no book of styles ({type(error).__name__}: {error}); {_REMEDY}") from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _persons(raw, feat_num) -> Persons | None:
    if "persons" not in raw:
        return None
    whole, entries = raw["persons"], raw["classes"].values()
    parts = {int(entry["id"]): entry["person"] for entry in entries if "person" in entry}
    return Persons.parse(int(whole["photos"]), int(whole["factors"]), feat_num, parts) if parts else None


def _describe(label, name, points, names, centres, regions, small) -> ClassStyles:
    nearest, distance = nearest_centre(points, centres)
    counts = np.bincount(nearest, minlength=len(centres))
    squares = np.bincount(nearest, weights=distance ** 2, minlength=len(centres))
    closest = [names[int(((points - centre) ** 2).sum(1).argmin())] for centre in centres]
    return ClassStyles(label, name, centres, counts / len(points), np.sqrt(squares / np.maximum(counts, 1)), closest, regions,
                       len(points), small)


def _plain(found: ClassStyles, persons: Persons | None) -> dict:
    columns = zip(found.shares, found.spreads, found.nearest, found.centres)
    styles = [{"style": i, "share": round(float(share), 6), "spread": float(spread), "nearest": nearest,
               "centre": centre.tolist()} for i, (share, spread, nearest, centre) in enumerate(columns)]
    entry = {"id": found.label, "regions": found.regions, "clustered": found.clustered, "small": found.small, "styles": styles}
    if found.gaussian:
        entry["gaussian"] = {"mean": found.gaussian[0].tolist(), "covariance": found.gaussian[1].tolist()}
    if persons and (part := persons.plain(found.label)):
        entry["person"] = part
    return entry


def _parse(name, entry, feat_num) -> ClassStyles:
    styles = entry["styles"]
    centres = finite([s["centre"] for s in styles], (len(styles), feat_num))
    gaussian = None
    if "gaussian" in entry:
        gaussian = (finite(entry["gaussian"]["mean"], (feat_num,)),
                    finite(entry["gaussian"]["covariance"], (feat_num, feat_num)))
    return ClassStyles(int(entry["id"]), str(name), centres, finite([s["share"] for s in styles], (len(styles),)),
                       finite([s["spread"] for s in styles], (len(styles),)), [str(s["nearest"]) for s in styles],
                       int(entry["regions"]), int(entry["clustered"]), bool(entry["small"]), gaussian)
