"""Whether a swap shows the source's identity, and leaves the target's surroundings alone."""
from __future__ import annotations

import numpy as np
import torch

from util.metrics.base import Figure, Metric


class SwapMetrics(Metric):
    """Cosines of identities, retrieval of the source's person among all sources, and the change outside the face.

    to_source, to_target: mean cosine of the swap with each. nearer: how often it is nearer to the source. rank1: how often the
    nearest of all sources shows the source's person (is the source itself, where it is not known who they are). background:
    mean absolute change outside the face, in levels of 255.
    """

    figures = {"to_source": Figure("cosine to source", 1), "to_target": Figure("cosine to target", 0),
               "nearer": Figure("nearer to the source", 1), "rank1": Figure("rank-1 retrieval of the source's person", 1),
               "background": Figure("change outside the face, of 255", 0)}
    requires = ("drawn", "true", "asked")

    def __init__(self, outside: np.ndarray):
        """outside: (S, S) weights in [0, 1], 1 outside the face."""
        super().__init__(settings={"side": len(outside)})
        self.outside, self.swaps, self.sources, self.people = outside, [], {}, {}

    def add(self, name, drawn, true=None, label=None, looks=None, asked=None) -> dict:
        """drawn, true: (S, S, 3) uint8, swap and target. asked: {'source', 'target', 'swap': (512,), 'name': the source's,
        'person': its number, or -1}."""
        change = np.abs(drawn.astype(np.float32) - true).mean(2)
        cosines = [float(np.dot(asked["swap"], asked[key])) for key in ("source", "target")]
        figures = {"to_source": cosines[0], "to_target": cosines[1], "nearer": float(cosines[0] > cosines[1]),
                   "background": float((change * self.outside).sum() / self.outside.sum())}
        self.each.append({"name": str(name), "source": str(asked["name"]), **figures})
        self.swaps.append(np.asarray(asked["swap"], np.float32))
        self.sources[str(asked["name"])] = np.asarray(asked["source"], np.float32)
        person = int(asked.get("person", -1))
        self.people[str(asked["name"])] = person if person >= 0 else str(asked["name"])
        return figures

    def add_batch(self, names, drawn, true=None, label=None, looks=None, asked=None):
        """As `add`, of several pictures."""
        return [self.add(name, drawn[i], true[i], asked=asked[i]) for i, name in enumerate(names)]

    def _sums(self):
        return {"swaps": [torch.from_numpy(one) for one in self.swaps],
                "sources": {name: torch.from_numpy(one) for name, one in self.sources.items()}, "people": dict(self.people)}

    def _add_sums(self, state):
        self.swaps += [one.numpy() for one in state["swaps"]]
        self.sources |= {name: one.numpy() for name, one in state["sources"].items()}
        self.people |= state["people"]

    def summary(self) -> dict:
        """The figures, and how many sources and people there are."""
        found = {"pictures": len(self.each), "sources": len(self.sources), **self._means()}
        if len(self.sources) > 1:
            people = list(self.people.values())
            found["people"] = len(set(people))
            nearest = (np.stack(self.swaps) @ np.stack(list(self.sources.values())).T).argmax(1)
            found["rank1"] = float(np.mean([people[k] == self.people[one["source"]] for k, one in zip(nearest, self.each)]))
        return found
