"""Whether attributes are found in photos, and whether drawn faces have those that they were asked to have."""
from __future__ import annotations

import numpy as np
import torch

from util.metrics.base import Figure, Metric, check_picture


class AttributeMetrics(Metric):
    """Accuracy, precision and recall of a classifier, by attribute; the main figure is the mean of their accuracies."""

    figures = {"attribute_accuracy": Figure("attributes that are right", 1)}

    def __init__(self, names):
        super().__init__(names, {"attributes": ",".join(names)})
        self._counts = np.zeros((len(names), 2, 2), np.int64)  # [attribute, true, found]

    def measure(self, name, found, true, label=None) -> dict:
        """found: (A,) probabilities. true: (A,) 1 or 0. Gives the share of attributes that are right."""
        found, true = np.asarray(found) > 0.5, np.asarray(true) > 0.5
        self._count(range(len(true)), true, found)
        return {"attribute_accuracy": float((found == true).mean())}

    def _count(self, which, true, found):
        np.add.at(self._counts, (np.asarray(which, int), np.asarray(true, int), np.asarray(found, int)), 1)

    def _sums(self):
        return {"counts": torch.from_numpy(self._counts.copy())}

    def _add_sums(self, state):
        self._counts += state["counts"].numpy()

    def summary(self) -> dict:
        """{'pictures', 'attribute_accuracy', 'by_attribute': {name: {'accuracy', 'precision', 'recall', 'frequency', ...}}}.

        frequency: the share of pictures that truly have it. None where there is nothing to divide by.
        """
        by_attribute = {self._class_name(i): self._row(counts) for i, counts in enumerate(self._counts) if counts.sum()}
        accuracies = [row["accuracy"] for row in by_attribute.values()]
        return {"pictures": len(self.each), "attribute_accuracy": float(np.mean(accuracies)) if accuracies else None,
                "by_attribute": by_attribute}

    @staticmethod
    def _row(counts) -> dict:
        (_, false_found), (missed, hit) = counts.tolist()
        return {"accuracy": ratio(np.trace(counts), counts.sum()), "precision": ratio(hit, hit + false_found),
                "recall": ratio(hit, hit + missed), "frequency": ratio(hit + missed, counts.sum()),
                "pictures": int(counts.sum())}


class AskedAttributes(AttributeMetrics):
    """Whether a classifier finds in drawn faces the attributes that they were asked to have, and what else turning one turns.

    attribute_agreement: mean over attributes of how often the asked value is found. turned_right: of faces drawn once more
    with one attribute turned, how often it is found as turned. others_changed: how often one of the other attributes is found
    otherwise than before the turn, leaving out those that exclude the turned one.
    """

    figures = {"attribute_agreement": Figure("asked attributes found", 1), "turned_right": Figure("turned attributes found", 1),
               "others_changed": Figure("other attributes changed", 0)}
    requires = ("drawn", "asked")

    def __init__(self, oracle):
        """oracle: a `models.attributes_model.AttributeOracle`."""
        super().__init__(oracle.names)
        self._oracle = oracle
        self._turned = np.zeros((len(oracle.names), 2, 2), np.int64)  # [turned attribute, of itself 0 or others 1, no or yes]

    @classmethod
    def create(cls, only, available):
        return cls(available.oracle)

    def add_batch(self, names, drawn, true=None, label=None, looks=None, asked=None):
        """asked: of each picture {'values': {name: 1 or 0}, 'turned': {name: (picture, value, what it excludes)}}."""
        if not names:
            return []
        pictures = [check_picture(name, picture, "drawn picture") for name, picture in zip(names, drawn)]
        turned = [(i, attribute, *rest) for i, one in enumerate(asked) for attribute, rest in one["turned"].items()
                  if attribute in self._oracle.names]
        found = self._oracle(np.stack([*pictures, *(picture for _, _, picture, *_ in turned)])) > 0.5
        before, after = found[:len(pictures)], found[len(pictures):]
        rows = [self._measure_one(name, one["values"], row) for name, one, row in zip(names, asked, before)]
        for (i, attribute, _, value, free), row in zip(turned, after):
            self._measure_turn(attribute, value, free, before[i], row)
        self.each += [{"name": str(name), **row} for name, row in zip(names, rows)]
        return rows

    def _measure_one(self, name, values, row):
        known = [(self._oracle.names.index(key), value) for key, value in values.items() if key in self._oracle.names]
        which, true = [i for i, _ in known], [value > 0.5 for _, value in known]
        self._count(which, true, row[which])
        return {"attribute_agreement": float((row[which] == true).mean()) if known else None}

    def _measure_turn(self, attribute, value, free, before, row):
        at = self._oracle.names.index(attribute)
        self._turned[at, 0, int(row[at] == (value > 0.5))] += 1
        others = [i for i, name in enumerate(self._oracle.names) if i != at and name not in free]
        changed = int((before[others] != row[others]).sum())
        self._turned[at, 1] += (len(others) - changed, changed)

    def _sums(self):
        return {**super()._sums(), "turned": torch.from_numpy(self._turned.copy())}

    def _add_sums(self, state):
        super()._add_sums(state)
        self._turned += state["turned"].numpy()

    def summary(self) -> dict:
        """As of the class; 'by_attribute' has the figures of each, of which 'agreement' is the first."""
        found = super().summary()
        for name, row in found["by_attribute"].items():
            turned_right, others_changed = (ratio(yes, no + yes) for no, yes in self._turned[self._oracle.names.index(name)])
            found["by_attribute"][name] = {"agreement": row.pop("accuracy"), "turned_right": turned_right,
                                           "others_changed": others_changed, **row}
        totals = {key: [row[key] for row in found["by_attribute"].values() if row[key] is not None]
                  for key in ("turned_right", "others_changed")}
        return {"attribute_agreement": found.pop("attribute_accuracy"), **found,
                **{key: float(np.mean(values)) if values else None for key, values in totals.items()}}


def ratio(part, whole) -> float | None:
    """None where there is nothing to divide by."""
    return float(part / whole) if whole else None
