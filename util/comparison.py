"""Experiments side by side: their figures, and how sure their differences are."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from util.errors import UserError, first_few
from util.evaluation import error_of, shown

RESAMPLES = 10_000
_AT_ONCE = 1 << 24  # numbers of a block of resamples
OF_SETS, OF_ALL = "a distance of sets", "of all pixels together"  # why a difference has no interval


def refuse_other_data(records: list[dict]) -> None:
    """Raise UserError where evaluations are not of the same pictures in the same size."""
    first, *others = records
    rows = {row["name"]: row for row in first["each"]}
    for other in others:
        theirs, different = {row["name"]: row for row in other["each"]}, ""
        apart = [name for name in {**rows, **theirs} if name not in rows or name not in theirs]
        if apart:
            different = f"pictures: {len(rows)} and {len(theirs)}, {first_few(apart)} in one of them only"
        for name in () if apart else rows:
            (size, truth), (size_there, truth_there) = ((row["size"], row["truth"]) for row in (rows[name], theirs[name]))
            if size != size_there:
                different = different or f"sizes: {name} is {size} in one and {size_there} in the other"
            if truth and truth_there and truth != truth_there:
                different = different or f"data: {name} has another true picture or label map in each"
        if different:
            raise UserError(f"--compare: {first['name']} and {other['name']} were measured on different {different}; evaluate "
                            "both on the same --dataroot and --phase, in one size")


def compared(records: list[dict], seed: int = 0) -> dict:
    """Figures side by side, and their differences to the first one's, JSON-safe.

    {'names', 'pictures', 'seed', 'resamples', 'figures': as in the records, those that all measured alike, 'values': {figure:
    [one a record]}, 'of_truth': {figure: value or None}, 'differences': [{figure: {'difference', 'interval': [low, high] or
    None, 'why': why there is none, 'nearer': 'first', 'other' or ''}}, ...], one for each record but the first}.

    Raises UserError as `refuse_other_data`.
    """
    refuse_other_data(records)
    figures = {key: figure for record in records for key, figure in record["figures"].items()
               if all(other["figures"].get(key, figure) == figure for other in records)}
    return {"names": [record["name"] for record in records], "pictures": records[0]["pictures"], "seed": seed,
            "resamples": RESAMPLES, "figures": figures,
            "values": {key: [record["values"].get(key) for record in records] for key in figures},
            "of_truth": {key: next((record["of_truth"][key] for record in records if key in record["of_truth"]), None)
                         for key in figures},
            "differences": [_differences(records[0], other, figures, seed) for other in records[1:]]}


def _differences(one: dict, other: dict, figures, seed) -> dict[str, dict]:
    """Of the figures that both have: how much more the other has."""
    names = [row["name"] for row in one["each"]]
    keys = [key for key in figures if None not in (one["values"].get(key), other["values"].get(key))]
    pairs = {key: (_estimator(one, key, names), _estimator(other, key, names)) for key in keys}
    sure = [key for key, pair in pairs.items() if None not in pair]
    more = [lambda times, pair=pairs[key]: pair[1](times) - pair[0](times) for key in sure]
    further = [lambda times, pair=pairs[key], best=figures[key]: error_of(best, pair[1](times)) - error_of(best, pair[0](times))
               for key in sure]
    found = bootstrap(more + further, len(names), seed)
    intervals, errors = dict(zip(sure, found)), dict(zip(sure, found[len(sure):]))
    of_pictures = {key for row in one["each"] for key, value in row.items() if value is not None}
    return {key: {"difference": other["values"][key] - one["values"][key], "interval": intervals.get(key),
                  "nearer": _nearer(errors.get(key)),
                  "why": "" if key in intervals else OF_ALL if key in of_pictures else OF_SETS} for key in keys}


def _nearer(interval) -> str:
    """'first' or 'other', whose figure is nearer the best value; '' where the interval of their distances to it has 0 in it."""
    if interval is None or interval[0] <= 0 <= interval[1]:
        return ""
    return "other" if interval[1] < 0 else "first"


def _estimator(record: dict, key: str, names: list[str]) -> Callable | None:
    """The function that gives a figure from how often each picture is taken, (r, n) -> (r,); None where there is none.

    It is the mean of the pictures' own figures, or the ratio of the root mean squares of their two sides, such as of
    sharpness: whichever gives the figure.
    """
    rows = {row["name"]: row for row in record["each"]}

    def column(name):
        return np.array([rows[one].get(name) for one in names], np.float64)  # NaN for None

    def mean(times):
        return _weighted(times, column(key))

    def ratio(times):
        return np.sqrt(_weighted(times, column(f"{key}_drawn") ** 2) / _weighted(times, column(f"{key}_true") ** 2))

    once = np.ones((1, len(names)))
    return next((one for one in (mean, ratio) if np.isclose(one(once)[0], record["values"][key], rtol=1e-9, atol=1e-12)), None)


def _weighted(times: np.ndarray, column: np.ndarray) -> np.ndarray:
    """(r,): means of a column over the pictures that have the figure, each taken as often as `times` (r, n) says."""
    known = np.isfinite(column)
    with np.errstate(invalid="ignore", divide="ignore"):  # where a draw has no such picture
        return (times @ np.where(known, column, 0)) / (times @ known)


def bootstrap(estimators: list[Callable], count: int, seed: int = 0, resamples: int = RESAMPLES) -> list[list[float]]:
    """95 % percentile intervals of estimators (Efron 1979): as many pictures are drawn from all of them, with replacement.

    Args:
        estimators: functions of how often each picture was drawn, (r, count) whole numbers -> (r,). All get the same draws.

    Returns:
        [[low, high], ...].
    """
    random, found = np.random.default_rng(seed), [[] for _ in estimators]
    for start in range(0, resamples, step := max(1, _AT_ONCE // count)):
        times = random.multinomial(count, np.full(count, 1 / count), min(step, resamples - start))
        for values, estimator in zip(found, estimators):
            values.append(estimator(times))
    return [np.nanpercentile(np.concatenate(values), (2.5, 97.5)).tolist() for values in found]


def tables(comparison: dict) -> list[tuple[str, list[str], list[list[str]]]]:
    """(what it is, headings, rows) of the figures, and of the differences, as text."""
    names, figures = comparison["names"], comparison["figures"]
    values = [[figure["title"], *(shown(value, figure) for value in comparison["values"][key]),
               shown(comparison["of_truth"][key], figure)] for key, figure in figures.items()]
    found = [(f"Figures of {comparison['pictures']} pictures", ["figure", *names, "true pictures"], values)]
    for name, differences in zip(names[1:], comparison["differences"]):
        rows = [[figures[key]["title"], shown(one["difference"], figures[key], "+"), _interval(one, figures[key]),
                 "" if one["interval"] is None else {"first": names[0], "other": name, "": "not told apart"}[one["nearer"]]]
                for key, one in differences.items()]
        found.append((f"{name} less {names[0]}", ["figure", "difference", "95 % interval", "nearer the best"], rows))
    return found


def _interval(one: dict, figure: dict) -> str:
    if one["interval"] is None:
        return f"none: {one['why']}"
    return " to ".join(shown(end, figure, "+") for end in one["interval"])


def markdown(headings: list[str], rows: list[list[str]]) -> str:
    """A table as Markdown has it, numbers to the right."""
    marks = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [headings, marks, *rows])
