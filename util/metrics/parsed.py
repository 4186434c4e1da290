"""Whether drawn pictures show what their label maps say: a face parser reads them, and is compared with the maps."""
from __future__ import annotations

import numpy as np
import torch

from util.errors import UserError, first_few
from util.metrics.base import Figure, Metric, check_sizes
from util.metrics.segmentation import SegmentationMetrics


def translation(parser_spec, spec) -> np.ndarray:
    """(classes,) integer table: table[the parser's id] is the data's id of the same class, by name.

    Where neither has names, the ids are the same. Raises UserError where the two do not tell the same classes apart, or where
    only one says what its ids mean.
    """
    own, wanted = list(parser_spec.labels), list(spec.labels)
    if bool(own) != bool(wanted):
        raise UserError(f"--parser: {'the data' if own else 'the parser'} says nothing about the numbering of its classes; "
                        f"name them in a dataset.json {'of the data root' if own else 'beside its weights'}")
    counts = parser_spec.label_nc or len(own), spec.label_nc or len(wanted)
    if set(own) != set(wanted) or counts[0] != counts[1]:
        unknown, extra = sorted(set(wanted) - set(own)), sorted(set(own) - set(wanted))
        raise UserError(f"--parser: tells {counts[0]} classes apart, the data has {counts[1]}"
                        + (f"; it does not know {first_few(unknown)}" if unknown else "")
                        + (f"; the data does not know {first_few(extra)}" if extra else "")
                        + "; give a parser that was trained on data with these classes")
    return np.array([wanted.index(name) for name in own]) if own else np.arange(counts[0])


class ParsedMetrics(Metric):
    """mIoU and pixel accuracy of the parsed drawn pictures against their label maps, and of the true photos, the ceiling.

    A parser errs on photos too, and a drawing may suit it better than the photo does: what counts is the figure beside that
    of the photos.
    """

    figures = {"miou": Figure("mean IoU", 1), "pixel_accuracy": Figure("pixel accuracy", 1)}
    requires = ("drawn", "label")

    def __init__(self, parser, spec):
        """parser: a `models.face_parser.FaceParser`. spec: the `DatasetSpec` of the label maps."""
        table = translation(parser.spec, spec)
        super().__init__(spec.labels, {"classes": len(table)})
        self._parser, self._table = parser, table
        self._sets = {which: SegmentationMetrics(len(table), spec.labels) for which in ("drawn", "true")}

    @classmethod
    def create(cls, only, available):
        return cls(available.parser, available.spec)

    def measure(self, name, drawn, true, label) -> dict:
        """The drawn picture's figures, and those of the photo, if there is one, as 'true_miou' and 'true_pixel_accuracy'."""
        check_sizes(name, drawn, true, label)
        pictures = [picture for picture in (drawn, true) if picture is not None]
        parsed = self._parser(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))[0].numpy()
        found = [self._sets[which].add(name, self._table[ids], label) for which, ids in zip(("drawn", "true"), parsed)]
        return {**found[0], **{f"true_{key}": value for key, value in (found[1].items() if true is not None else ())}}

    def _sums(self):
        return {which: metrics.state() for which, metrics in self._sets.items()}

    def _add_sums(self, state):
        for which, metrics in self._sets.items():
            metrics.extend(state[which])

    def summary(self) -> dict:
        """{'pictures', 'miou', 'miou_large', 'pixel_accuracy', 'by_class', 'true': the same of the true photos, 'of_true'}.

        As `SegmentationMetrics` has them. of_true: the drawn pictures' miou over that of the photos. None without photos.
        """
        drawn, true = (self._sets[which].summary() for which in ("drawn", "true"))
        of_true = drawn["miou"] / true["miou"] if drawn["miou"] is not None and true["miou"] else None
        return {**drawn, "true": true if true["pictures"] else None, "of_true": of_true}

    def of_truth(self, summary):
        """Those of the photos."""
        return {key: summary["true"] and summary["true"][key] for key in self.figures}
