"""Choosing a feature vector for each region: persons, clusters, the prior, styles by number, other photos."""
from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from models.styles import flags as style_flags
from models.styles.book import FILE_NAME, StyleBook
from models.styles.persons import Persons
from util.errors import UserError, first_few
from util.experiment import experiment_folder
from util.safe_pickle import load_dict

RANDOM = "random"
_PERSONS, _NUMBERED = 3, 4  # last of the numbers that all random ones follow from; those of a photo's noise end in 1 and 2


@dataclass(frozen=True)
class Encoded:
    """The encoding of a photo's regions as Gaussians. mu, log_variance: (R, d) float64; the latter None without --use_vae."""

    mu: np.ndarray
    log_variance: np.ndarray | None = None

    def at(self, rows) -> Encoded:
        """The encoding of some of the regions."""
        return Encoded(self.mu[rows], None if self.log_variance is None else self.log_variance[rows])

    def sample(self, random: np.random.Generator | None) -> np.ndarray:
        """(R, d): mu, or with `random` a sample z = mu + e^(l/2) eps."""
        if random is None or self.log_variance is None:
            return self.mu
        return self.mu + np.exp(0.5 * self.log_variance) * random.standard_normal(self.mu.shape)


@dataclass(frozen=True)
class Donor:
    """A photo whose style is transferred: its name, the classes of its regions (R,), their encoding, and the photo to show."""

    name: str
    classes: list[int]
    encoded: Encoded
    photo: object = None


@dataclass(frozen=True)
class Choice:
    """Where the features of a batch come from.

    mode: how features are sampled where no photo gives them: 'person', 'clusters', 'prior' or 'class'.
    own: use the features of the item's own photo, where it has one.
    posterior: sample from the posterior of a photo's features, instead of taking its mean.
    fixed: {class: (d,) vector, or RANDOM to sample by `mode`}; it overrides all else.
    taken: the classes whose features come from the donor, or None for all.
    seed: samples follow from (seed, the item's index, the number of the look). looks: how many pictures to draw of an item.
    person: in mode 'person', the number of the one to draw, whatever the seed and item; further looks are the next ones.
    fit: in mode 'person', sample what fits the features that are not sampled.
    """

    mode: str = "clusters"
    own: bool = False
    posterior: bool = False
    fixed: dict = field(default_factory=dict)
    taken: frozenset | None = None
    seed: int = 0
    looks: int = 1
    person: int | None = None
    fit: bool = False

    @classmethod
    def of_options(cls, opt, styles: Styles) -> Choice:
        """The choice that the flags of test.py make. Raises UserError for styles that do not exist."""
        swaps = style_flags.swaps(opt)
        mode = style_flags.mode(opt.sample, opt.style_fit, opt.person)
        names = [name for name in (opt.style_regions or "").split(",") if name]
        return cls(mode=mode or styles.default_mode(opt), own=opt.use_encoded_image or swaps and not mode,
                   posterior=opt.sample == "posterior", fixed=styles.fixed(opt.style or ()), seed=opt.seed, looks=opt.n_samples,
                   taken=frozenset(styles.label_of(name, "--style_regions") for name in names) if names else None,
                   person=opt.person, fit=opt.style_fit)

    def replace(self, **changes) -> Choice:
        """A copy with some fields changed."""
        return replace(self, **changes)

    @property
    def samples(self) -> bool:
        """Whether regions may get features that are sampled."""
        return not self.own or any(isinstance(style, str) for style in self.fixed.values())

    @property
    def takes_clusters(self) -> bool:
        """Whether a region may get a style of the file of clusters."""
        return self.mode == "clusters" and self.samples or any(not isinstance(style, str) for style in self.fixed.values())

    @property
    def takes_gaussians(self) -> bool:
        """Whether a region may get a sample of a Gaussian that encode_features.py found."""
        return self.mode in ("person", "class") and self.samples


class Styles:
    """The styles of an experiment, and how each region of a picture gets its features.

    centres: {class: (k, d)}. shares: {class: (k,)}, how often each is sampled; equally often if unknown. gaussians: {class:
    (mean, covariance)}, of files that are older than `persons`. missing: the error to raise where centres are needed but
    were not found, else ''. encoders: {file: `weights.digest` of the encoder that computed it}, where known.
    """

    def __init__(self, feat_num: int, centres: dict, gaussians: dict | None = None, spec=None, names: dict | None = None,
                 missing: str = "", encoders: dict[str, str] | None = None, persons: Persons | None = None,
                 shares: dict | None = None):
        self.feat_num, self.centres, self.shares, self.gaussians = feat_num, centres, shares or {}, gaussians or {}
        self.spec, self.names, self.missing, self.encoders = spec, names or {}, missing, encoders or {}
        self.persons = persons

    @classmethod
    def of_experiment(cls, opt) -> Styles:
        """Read the file of clusters and styles.json of an experiment, those that exist."""
        folder = experiment_folder(opt)
        path, book = folder / opt.cluster_path, None
        if (folder / FILE_NAME).is_file():
            book = StyleBook.read(folder / FILE_NAME)
            if book.feat_num != opt.feat_num:
                raise UserError(f"{folder / FILE_NAME}: holds styles of {book.feat_num} numbers, the weights take "
                                f"{opt.feat_num}; make it again with encode_features.py")
        centres, shares, missing, encoders = {}, {}, "", {}
        if path.is_file():
            centres = load_dict(path, columns=opt.feat_num)
            if book and book.owns(path):
                centres, shares = {**book.centres(small=True), **centres}, book.shares()
            encoders[path] = book.encoder_of(path) if book else ""
        else:
            others = sorted(p.name for p in folder.glob("features_clustered_*.npy"))
            remedy = f"choose {first_few(others)} with --cluster_path" if others else \
                f"run encode_features.py with --name {opt.name}"
            missing = f"{path}: there is no such file of styles; {remedy}, or draw with --use_encoded_image"
        classes = book.classes.values() if book else ()
        gaussians = {one.label: one.gaussian for one in classes if one.gaussian}
        if gaussians or book and book.persons:
            encoders[folder / FILE_NAME] = book.encoder
        encoders = {str(file): encoder for file, encoder in encoders.items() if encoder}
        return cls(opt.feat_num, centres, gaussians, opt.spec, {one.name: one.label for one in classes}, missing, encoders,
                   book.persons if book else None, shares)

    def default_mode(self, opt) -> str:
        """How to sample where the flags do not say: persons, where they were found and no file of clusters is named."""
        if self.persons and opt.sources.get("cluster_path") != "command line":
            return "person"
        return "prior" if opt.use_vae else "clusters"

    # by name

    def label_of(self, name: str, flag: str) -> int:
        """The id of a class given by name or id. Raises UserError naming `flag` and the classes."""
        name = str(name).strip()
        if name in self.names and not (self.spec and self.spec.labels):
            return self.names[name]
        try:
            return self.spec.label_of(name)
        except UserError as error:
            raise UserError(f"{flag}: {error}") from None

    def fixed(self, texts) -> dict:
        """['hair=3', 'cloth=random'] -> {class: vector or RANDOM}. Raises UserError naming --style."""
        found = {}
        for text in texts:
            name, _, style = text.rpartition("=")
            label = self.label_of(name, f"--style {text}")
            if label in found:
                raise UserError(f"--style {text}: a class has one style, and {name} is given twice; leave one of them out")
            found[label] = RANDOM if style == RANDOM else self.numbered(label, int(style), f"--style {text}")
        return found

    def numbered(self, label: int, number: int, flag: str) -> np.ndarray:
        """(d,): a style by its number on the style sheet. Raises UserError naming `flag` and how many styles there are."""
        self.require_centres()
        count = len(self.centres.get(label, ()))
        if not 0 <= number < count:
            found = f"there are {count}, numbered 0 to {count - 1}; choose one of them" if count else \
                "none was found of that class; encode photos that show it with encode_features.py"
            raise UserError(f"{flag}: there is no such style: {found}")
        return self.centres[label][number]

    # sampling

    def require(self, mode: str) -> None:
        """Raise UserError where the file that `mode` samples from is missing."""
        if mode == "clusters":
            self.require_centres()
        if mode == "person" and not self.persons or mode == "class" and not (self.persons or self.gaussians):
            raise UserError(f"--sample {mode}: the experiment has no {FILE_NAME} with Gaussians (none at all, or one of an "
                            "earlier version); run encode_features.py first, or use --sample clusters")

    def require_centres(self) -> None:
        """Raise UserError if there is no file of clusters."""
        if self.missing:
            raise UserError(self.missing)

    def sample(self, choice: Choice, classes: list[int], index: int = 0, look: int = 0, known=()) -> np.ndarray:
        """(R, d): a vector for each region of one picture; zeros for classes without styles.

        index: of the picture, from which with the seed and `look` all random numbers follow. known: (class, vector) of the
        regions that a person is to fit.
        """
        self.require(choice.mode)
        key, mode = (choice.seed, index, look), choice.mode
        if mode == "person":
            numbered = (*key, _PERSONS) if choice.person is None else (choice.person + look, 0, 0, _NUMBERED)
            return self.persons.draw(classes, numbered, known)
        if mode == "class" and self.persons:
            return self.persons.apart(classes, (*key, _PERSONS))
        random = np.random.default_rng(key)
        if mode == "prior":
            return random.standard_normal((len(classes), self.feat_num))
        vectors = np.zeros((len(classes), self.feat_num))
        for r, label in enumerate(classes):
            if mode == "clusters" and len(self.centres.get(label, ())):
                vectors[r] = self._any_centre(label, random)
            elif mode == "class" and label in self.gaussians:
                mean, covariance = self.gaussians[label]
                vectors[r] = random.multivariate_normal(mean, covariance, check_valid="ignore", method="eigh")
        return vectors

    def _any_centre(self, label, random):
        centres, shares = self.centres[label], self.shares.get(label)
        if shares is None or not shares.sum() > 0 or (shares < 0).any():
            return centres[random.integers(len(centres))]
        return centres[random.choice(len(centres), p=shares / shares.sum())]

    def fallback(self, label: int) -> np.ndarray:
        """(d,): for a class that neither the donor nor the item's own photo has: its largest cluster, else zeros."""
        self.require_centres()
        found = self.centres.get(label, ())
        return found[0] if len(found) else np.zeros(self.feat_num)

    # all together

    def pick(self, classes: list[int], choice: Choice, index: int, look: int = 0, own: Encoded | None = None,
             donor: Donor | None = None) -> np.ndarray:
        """The feature vectors of one picture's regions: (R, d) float64.

        classes: of each region. index: of the picture; with it and `look`, the number of the look, the samples follow from the
        seed. own: the encoding of its own photo. donor: a photo whose style is transferred; it overrides own features and
        samples, and `choice.fixed` overrides it.
        """
        given = self._given(choice, index, look, donor)
        from_own = own.sample(_noise(choice, index, look, 1)) if own else None
        vectors, sampled = np.zeros((len(classes), self.feat_num)), np.zeros(len(classes), bool)
        for r, label in enumerate(classes):
            lacks = donor and (choice.taken is None or label in choice.taken)  # what it was to give
            if label in given:
                sampled[r] = given[label] is RANDOM
                vectors[r] = 0 if sampled[r] else given[label]
            elif own and (choice.own or lacks and not choice.fit):
                vectors[r] = from_own[r]
            elif lacks and not choice.fit:
                vectors[r] = self.fallback(label)
            else:
                sampled[r] = True
        if sampled.any():
            known = [(label, vector) for label, vector in given.items() if vector is not RANDOM]
            known += [(label, vectors[r]) for r, label in enumerate(classes) if label not in given and not sampled[r]]
            drawn = self.sample(choice, classes, index, look, known if choice.fit else ())
            vectors[sampled] = drawn[sampled]
        return vectors

    @staticmethod
    def _given(choice, index, look, donor) -> dict:
        """{class: a vector that its regions take, or RANDOM}, from the donor and `choice.fixed`, also of classes that the
        picture does not show."""
        given = {}
        if donor:
            encoded = zip(donor.classes, donor.encoded.sample(_noise(choice, index, look, 2)))
            given = {label: vector for label, vector in encoded if choice.taken is None or label in choice.taken}
        return {**given, **choice.fixed}


def _noise(choice, index, look, stream):
    """The generator of posterior noise, independent of the other samples; None where the mean is used."""
    return np.random.default_rng((choice.seed, index, look, stream)) if choice.posterior else None
