"""Which files a data root has and how they pair up: the part of a check that opens no picture."""
from __future__ import annotations

from pathlib import Path

from data.dataset_spec import FILE_NAME, DatasetSpec
from data.image_files import list_images
from data.pairing import near_misses, pair
from datasets._check_findings import ERROR, WARNING, Problem, Scene
from options.dataset_defaults import check_defaults
from util.errors import UserError, first_few

ROLES = ("label", "img", "inst", "feat", "A", "B")
_NOT_READ = (".gif", ".heic", ".heif", ".avif", ".jp2", ".tga", ".exr", ".psd", ".svg", ".npy", ".npz", ".mat")
_PARTNERS = {"label": ("img", "inst", "feat"), "A": ("B", "inst")}
_LEFT_RIGHT = (("l_", "r_"), ("left_", "right_"), ("left ", "right "), ("left-", "right-"), ("Left", "Right"))


def phases_of(root: Path) -> list[str]:
    """The phases of a data root's folders ('train' for train_label), train first. Raises UserError if there are none."""
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder")
    found = {path.name.rpartition("_")[0] for path in root.iterdir()
             if path.is_dir() and path.name.rpartition("_")[2] in ROLES and not path.name.startswith((".", "_"))}
    if not found:
        raise UserError(f"{root}: holds no folders such as train_label and train_img; give the data root itself")
    return sorted(found, key=lambda phase: (phase != "train", phase))


def pair_files(root: Path, phase: str) -> tuple[list[Scene], list[Problem]]:
    """The scenes of a phase, and problems of missing or misnamed files."""
    problems: list[Problem] = []
    files = {}
    for role in ROLES:
        folder = root / f"{phase}_{role}"
        if folder.is_dir():
            files[role] = _listed(folder, problems)
    main, photo = ("A", "B") if "A" in files and "label" not in files else ("label", "img")
    if main not in files:
        problems.append(Problem(ERROR, "missing folder", f"{root / f'{phase}_{main}'}: there is no such folder beside "
                                f"{', '.join(f'{phase}_{role}' for role in files)}; add it"))
        return [Scene(phase, key, {photo: path}) for key, path in files.get(photo, {}).items()], problems
    if photo not in files and phase == "train":
        problems.append(Problem(ERROR, "missing folder", f"{root / f'{phase}_{photo}'}: there is no such folder; "
                                "training needs the photos there"))
    scenes = {key: {main: path} for key, path in files[main].items()}
    for role in _PARTNERS[main]:
        pairs = pair(files[main], files.get(role, ()))
        if files.get(role) and files[main]:  # an empty folder has been reported already
            problems += _unpaired(files, pairs, (main, role), root, phase)
        for key, name in pairs.items():
            path = files[role].pop(name)
            if role != "feat":  # feature maps are not examined
                scenes[key][role] = path
    alone = [Scene(phase, name, {photo: path}) for name, path in files.get(photo, {}).items()]
    return [Scene(phase, key, found) for key, found in scenes.items()] + alone, problems


def _listed(folder: Path, problems: list[Problem]) -> dict[str, Path]:
    """The pictures of a folder by key; problems of their names are appended to `problems`."""
    others = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _NOT_READ)
    if others:
        problems.append(Problem(WARNING, "not read", f"{folder}: holds files of a kind that is not read: "
                                f"{first_few(others, 3)}; save them as PNG, or photos as JPEG"))
    try:
        found = list_images(folder)
    except UserError as error:
        problems.append(Problem(ERROR, "same name twice", str(error)))
        return {}
    if not found:
        problems.append(Problem(ERROR, "empty folder", f"{folder}: holds no pictures; fill it or remove it"))
    return found


def _unpaired(files, pairs, roles: tuple[str, str], root: Path, phase: str) -> list[Problem]:
    """A problem for each file of the main role without a partner in the other role, and the reverse."""
    main, role = roles
    ours = {key: path for key, path in files[main].items() if key not in pairs}
    taken = set(pairs.values())
    theirs = {key: path for key, path in files[role].items() if key not in taken}
    meant, meant_by = near_misses(ours, theirs), near_misses(theirs, ours)
    if not pairs:
        alike = f"; {next(iter(meant.values()))}" if meant else ""
        return [Problem(ERROR, "unpaired", f"{root / f'{phase}_{role}'}: none of its {len(theirs)} files is named like "
                        f"one in {phase}_{main} (here {first_few(theirs, 2)}; there {first_few(ours, 2)}{alike}); pairs are "
                        "found by name, so rename one side")]
    needed = ERROR if phase == "train" or role == "inst" else WARNING
    extra = ERROR if phase == "train" and role in ("img", "B") else WARNING
    return [Problem(severity, "unpaired", f"{path}: has no partner '{key}' in {phase}_{other}" +
                    (f" ({alike[key]}); rename one" if key in alike else "; add it or remove this one"))
            for severity, lone, other, alike in ((needed, ours, role, meant), (extra, theirs, main, meant_by))
            for key, path in lone.items()]


def read_spec(root: Path, label_nc: int | None) -> tuple[DatasetSpec, list[Problem]]:
    """dataset.json and what is wrong with it: unreadable, setting flags it may not, at odds with --label_nc, left and right
    without a pair."""
    path = root / FILE_NAME
    try:
        spec = DatasetSpec.read(root)
    except UserError as error:
        return DatasetSpec(), [Problem(ERROR, FILE_NAME, str(error))]
    problems = []
    try:
        check_defaults(spec.defaults, str(path))
    except UserError as error:
        problems.append(Problem(ERROR, FILE_NAME, str(error)))
    if label_nc is not None and spec.label_nc not in (None, label_nc):
        problems.append(Problem(ERROR, FILE_NAME, f"{path}: says label_nc {spec.label_nc}, but --label_nc is "
                                f"{label_nc}; make them agree"))
    paired = {i for pair in spec.flip_pairs for i in pair}
    ids = {name: i for i, name in enumerate(spec.labels)}
    for name, i in ids.items():
        for left, right in _LEFT_RIGHT:
            partner = right + name[len(left):]
            if name.startswith(left) and partner in ids and not {i, ids[partner]} <= paired:
                problems.append(Problem(WARNING, "left and right", f"{path}: {name} and {partner} are no flip pair, so "
                                        f"mirrored pictures mix them up; add [{i}, {ids[partner]}] to flip_pairs, or "
                                        "train with --no_flip"))
    return spec, problems
