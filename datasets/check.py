"""Check a data root for everything that training would fail on, file by file.

python -m datasets.check datasets/faceOriginIm --report report.html
"""
from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.blends import blends_line, find_blend
from data.dataset_spec import DONTCARE, FILE_NAME, SCHEMES, DatasetSpec
from data.image_files import image_size, read_label
from data.label_maps import LabelMaps
from datasets._check_findings import ERROR, NOTE, WARNING, Facts, Problem, Scene
from datasets._check_names import pair_files, phases_of, read_spec
from datasets._check_numbering import recognise, write_count, write_names
from datasets._check_pictures import examine, label_fault
from datasets._program import Program
from datasets._work import work
from datasets.relabel import is_interrupted
from options.flags import whole
from util import page_facts
from util.command_line import command_line
from util.errors import UserError, first_few

SHOWN = 10  # lines a kind of problem on the terminal, unless --all
SEVERITIES = (ERROR, WARNING, NOTE)
SAMPLE = 200  # label maps that a quick check decodes


@dataclass
class Result:
    """The findings of a check of a whole data root.

    maps: how label maps are read; None if the number of classes is not known, or the input is a picture.
    pixels, pictures: by phase, {class id: number of pixels} and {class id: number of label maps with it}.
    """

    root: Path
    spec: DatasetSpec
    label_nc: int | None
    maps: LabelMaps | None = None
    scenes: list[Scene] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    pixels: dict[str, Counter] = field(default_factory=dict)
    pictures: dict[str, Counter] = field(default_factory=dict)
    labelled: Counter = field(default_factory=Counter)

    @property
    def status(self) -> int:
        """0 clean (notes are no faults), 1 with warnings, 2 with errors: the program's exit status."""
        errors, warnings = self.counts()
        return 2 if errors else 1 if warnings else 0

    def grouped(self) -> list[tuple[str, str, list[Problem]]]:
        """(severity, kind, problems): errors, warnings, notes, each kind in the order it was found."""
        groups: dict[tuple[str, str], list[Problem]] = {}
        for problem in self.problems:
            groups.setdefault((problem.severity, problem.kind), []).append(problem)
        return [(*key, group) for key, group in sorted(groups.items(), key=lambda item: SEVERITIES.index(item[0][0]))]

    def counts(self) -> tuple[int, int]:
        """How many errors and warnings."""
        severities = [problem.severity for problem in self.problems]
        return severities.count(ERROR), severities.count(WARNING)


def quick_check(dataroot, phase: str, label_nc: int | None = None, sample: int = SAMPLE) -> list[Problem]:
    """A check that takes seconds: names, the sizes in all headers, and an evenly spread sample of the label maps.

    label_nc: 0 if the input is a picture; None for that of dataset.json. Raises UserError if `dataroot` is no data root.
    """
    root = Path(dataroot)
    if phase not in phases_of(root):
        raise UserError(f"{root}: has no {phase}_ folders; there are {first_few(phases_of(root))}")
    spec, problems = read_spec(root, label_nc or None)
    scenes, found = pair_files(root, phase)
    problems += found
    paths = [scene.files["label"] for scene in scenes if "label" in scene.files]
    faults = [_header_fault(path) for scene in scenes for path in scene.files.values()]
    problems += [Problem(ERROR, "unreadable", fault) for fault in faults if fault]
    if label_nc != 0:
        spread = [paths[i * len(paths) // sample] for i in range(sample)] if len(paths) > sample else paths
        problems += check_labels(spread, label_nc or spec.label_nc, spec.dontcare)
    return problems


def check_labels(paths, label_nc: int | None, dontcare: int | None = None) -> list[Problem]:
    """Problems of some label maps: files without ids, ids outside 0..label_nc - 1 (None: any), blended ids.

    dontcare: the id of unlabelled pixels, or None.
    """
    problems, blends, maps = [], {}, LabelMaps(label_nc, dontcare) if label_nc else None
    for path in paths:
        try:
            ids = read_label(path)
        except UserError as error:
            problems.append(Problem(ERROR, "unusable label map", str(error)))
            continue
        fault = label_fault(path, ids, maps)
        if fault:
            problems.append(Problem(ERROR, "label out of range", fault))
        blend = find_blend(ids)
        if blend:
            blends[path] = blend
    return problems + _blended(blends, len(paths))


def _blended(blends: dict, looked_at: int, what: str = "label maps") -> list[Problem]:
    """A problem for {file: Blend} among the `looked_at` maps of one folder, if there is any."""
    return [Problem(WARNING, "blended ids", blends_line(blends, looked_at, what))] if blends else []


def _header_fault(path: Path) -> str:
    try:
        image_size(path)
    except UserError as error:
        return str(error)
    return ""


def full_check(dataroot, label_nc: int | None = None, jobs: int = 1, contain_dontcare_label: bool = False) -> Result:
    """Open, decode and compare every file of every phase. Raises UserError where `dataroot` is no data root.

    label_nc: None to take dataset.json's. contain_dontcare_label: 255 marks unlabelled pixels, or what dataset.json says.
    """
    root = Path(dataroot)
    phases = phases_of(root)
    spec, problems = read_spec(root, label_nc)
    label_nc = spec.label_nc if label_nc is None else label_nc
    spec, found = recognise(root, spec, label_nc)
    problems += found
    if label_nc and (contain_dontcare_label or spec.dontcare is not None):
        spec = spec.with_unlabelled(label_nc)
    result = Result(root, spec, label_nc, LabelMaps(label_nc, spec.dontcare) if label_nc else None, problems=problems)
    if is_interrupted(root):
        result.problems.append(Problem(ERROR, "unfinished", f"{root}: a change of numbering was broken off half-way; "
                                       "run the same datasets.relabel command again"))
    for phase in phases:
        scenes, found = pair_files(root, phase)
        result.scenes += scenes
        result.problems += found
    _look_inside(result, jobs)
    _compare_classes(result)
    return result


def _look_inside(result: Result, jobs: int) -> None:
    """Examine every scene, and find the problems that concern several scenes."""
    pairs = result.spec.flip_pairs
    function = functools.partial(examine, maps=result.maps, flip_pairs=pairs, names=result.spec.class_names)
    modes, seen, sides, scaled, blends = {}, {}, [], {}, {}
    for scene, facts, fault in work(function, result.scenes, jobs, "pictures"):
        if fault:
            raise UserError(fault)
        result.problems += facts.problems
        _count(result, scene, facts)
        if facts.photo_mode:
            sort = "grey" if facts.photo_mode in ("L", "LA", "1", "I;16", "I") else "colour"
            modes.setdefault(sort, []).append(scene)
            _twice(result, seen, scene, facts.digest)
        for role, blend in facts.blends.items():
            blends.setdefault((scene.phase, role), {})[scene.files[role]] = blend
        for role, sizes in facts.scaled.items():
            scaled.setdefault(role, []).append((scene.files[role], sizes))
        if any(facts.sides):
            sides.append((scene, facts.sides))
    if len(modes) == 2:
        fewer, other = sorted(modes, key=lambda mode: len(modes[mode]))
        some = first_few([_photo(scene) for scene in modes[fewer]], 3)
        result.problems.append(Problem(WARNING, "grey and colour", f"{some}: in {fewer}, among {len(modes[other])} "
                                       f"photos in {other}; keep one sort"))
    for (phase, role), found in blends.items():
        looked_at = sum(scene.phase == phase and role in scene.files for scene in result.scenes)
        result.problems += _blended(found, looked_at, "label maps" if role == "label" else "instance maps")
    result.problems += [*_mirrored(sides), *_of_other_size(result, scaled)]


def _photo(scene: Scene) -> Path:
    return next(scene.files[role] for role in ("img", "B", "A") if role in scene.files)


def _count(result: Result, scene: Scene, facts: Facts) -> None:
    if facts.counts is None:
        return
    present = np.flatnonzero(facts.counts).tolist()
    result.pixels.setdefault(scene.phase, Counter()).update({i: int(facts.counts[i]) for i in present})
    result.pictures.setdefault(scene.phase, Counter()).update(present)
    result.labelled[scene.phase] += 1


def _twice(result: Result, seen: dict, scene: Scene, digest: str) -> None:
    """Report the same photo under two names; across phases, a network would be tested on what it was trained on."""
    first = seen.setdefault(digest, scene)
    if first is not scene:
        apart = f" of {first.phase}, so one is tested on what it was trained on" if first.phase != scene.phase else ""
        result.problems.append(Problem(WARNING, "same photo twice", f"{_photo(scene)}: is the same file as "
                                       f"{_photo(first)}{apart}; remove one"))


def _of_other_size(result: Result, scaled: dict) -> list[Problem]:
    """Notes on files of another size than their label maps, such as CelebAMask-HQ's photos; one for each role."""
    lines = []
    for role, found in scaled.items():
        path, (size, main) = found[0]
        total = sum(role in scene.files for scene in result.scenes)
        what = {"img": "photos", "inst": "instance maps"}.get(role, "pictures")
        lines.append(f"{result.root}: {len(found)} of {total} {what} are of another size than what they belong to, such as "
                     "{}: {}x{} and {}x{}; pairs are brought to one size when they are loaded".format(path, *size, *main))
    return [Problem(NOTE, "sizes differ", line) for line in lines]


def _mirrored(sides) -> list[Problem]:
    """Pictures whose left and right classes are exchanged, compared with most others."""
    if len(sides) < 10:
        return []
    table = np.array([row for _, row in sides])
    usual = np.sign(table.sum(axis=0))
    clear = np.abs(table.sum(axis=0)) >= 0.8 * np.maximum(1, (table != 0).sum(axis=0))
    signs = table * usual * clear
    odd = ((signs < 0).sum(axis=1) >= 2) & ((signs > 0).sum(axis=1) == 0)
    return [Problem(WARNING, "left and right", f"{scene.files['label']}: has left and right the other way round than "
                    "the others; a mirrored picture needs its left and right ids swapped")
            for (scene, _), wrong in zip(sides, odd) if wrong]


def _compare_classes(result: Result) -> None:
    """Report classes that no training map has, or that only test maps have."""
    def names(ids):
        named = len(result.spec.labels)
        return first_few([f"{result.spec.name_of(i)} ({i})" if i < named else i for i in ids], 8)

    seen = {phase: set(counter) for phase, counter in result.pixels.items()}
    everywhere = set().union(*seen.values()) if seen else set()
    add = result.problems.append
    if seen and result.label_nc:
        never = sorted(set(range(result.label_nc)) - everywhere)
        if never:
            add(Problem(WARNING, "classes never seen", f"{result.root}: no label map has {len(never)} of "
                        f"{result.label_nc} classes: {names(never)}; is label_nc right?"))
    elif seen and not any(problem.kind == FILE_NAME for problem in result.problems):
        add(Problem(WARNING, "label_nc unknown", f"{result.root}: nobody says how many classes there are (ids up to "
                    f"{max(everywhere)} were found); pass --label_nc, or --write a {FILE_NAME}"))
    for phase in seen.keys() - {"train"} if "train" in seen else ():
        new = sorted(i for i in seen[phase] - seen["train"] if not result.label_nc or i < result.label_nc)
        if new:
            add(Problem(WARNING, "classes not trained", f"{result.root / f'{phase}_label'}: has {names(new)}, which no "
                        "training map has; the nets will not know what to draw there"))


def print_result(result: Result, everything: bool) -> None:
    """Print the problems by kind, and how many pictures were examined."""
    for severity, kind, problems in result.grouped():
        if severity == NOTE:
            print(*problems, sep="\n")
            continue
        print(f"{severity}: {kind} ({len(problems)})")
        shown = problems if everything else problems[:SHOWN]
        for problem in shown:
            print(f"  {problem.message}")
        if len(shown) < len(problems):
            print(f"  ... and {len(problems) - len(shown)} more (--all lists them)")
    counts = Counter(scene.phase for scene in result.scenes)
    errors, warnings = result.counts()
    print(f"{result.root}: {', '.join(f'{n} {phase}' for phase, n in counts.items()) or 'no'} pictures, "
          f"{errors} errors, {warnings} warnings")


def flags() -> Program:
    parser = Program("check", "Look at every file of a data root and say, by file, what training would trip over.\n\n"
                     "Exit status: 0 clean (or with notes only), 1 with warnings, 2 with errors.",
                     "datasets/faceOriginIm --report report.html")
    parser.add_argument("dataroot", metavar="DIR", help="the data root, which holds train_label and train_img")
    parser.add_argument("--label_nc", type=whole(0, 65535), help=f"number of classes (default: what its {FILE_NAME} says)")
    parser.add_argument("--contain_dontcare_label", action="store_true", help=f"{DONTCARE} marks unlabelled pixels (default: "
                        f"what its {FILE_NAME} calls dontcare)")
    parser.add_argument("--write", action="store_true", help=f"write {FILE_NAME}, or what it lacks: how many classes, and for "
                        "faces their names, colours and sides, where --scheme or the maps tell; and the maps' size")
    parser.add_argument("--scheme", choices=sorted(SCHEMES), help="with --write: the numbering that the ids follow (default: "
                        "what the maps look like, which is said)")
    parser.add_argument("--dataset_mode", default="aligned", help="the data set that the folder is for (default: aligned); "
                        "with another one, its flags and the model's are taken as train.py takes them")
    parser.add_argument("--phase", default="train", help="with another --dataset_mode: whose items are read (default: train)")
    parser.add_argument("--report", metavar="FILE", help="also write a page with counts by class and pictures")
    parser.add_argument("--all", action="store_true", help=f"list every problem, not only {SHOWN} of a kind")
    parser.add_shared("--jobs", "--verbose")
    return parser


def check_items(args, more) -> int:
    """Read every item of another data set than label maps and photos; gives the exit status. more: flags of train.py."""
    from datasets._check_items import faults_of_items
    if args.label_nc is not None:
        more = ["--label_nc", str(args.label_nc), *more]
    count, faults = faults_of_items(args.dataset_mode, args.dataroot, args.phase, more)
    for fault in faults if args.all else faults[:SHOWN]:
        print(f"error: {fault}")
    print(f"{args.dataroot}: {count} items of --dataset_mode {args.dataset_mode}, {len(faults)} cannot be used")
    return 2 if faults else 0


def main(arguments=None) -> int:
    """The program; returns its exit status."""
    parser = flags()
    args, more = parser.parse_known_args(arguments)
    if args.dataset_mode != "aligned":
        return check_items(args, more)
    if more:
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    if args.scheme and not args.write:
        raise UserError(f"--scheme {args.scheme}: only --write puts it anywhere; add that")
    if args.write:
        phases_of(Path(args.dataroot))
        write_names(Path(args.dataroot), args.scheme, args.label_nc, args.contain_dontcare_label)
    result = full_check(args.dataroot, args.label_nc, args.jobs, args.contain_dontcare_label)
    if args.write and result.label_nc is None and result.pixels:
        write_count(result.root, set().union(*result.pixels.values()))
    print_result(result, args.all)
    if args.report:
        from datasets._check_report import write_report
        write_report(args.report, result, page_facts.of_command(page_facts.module_command("datasets.check", arguments)))
        print(f"{args.report}: the report")
    return result.status


if __name__ == "__main__":
    command_line(main)()
