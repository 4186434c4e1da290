"""The page of a check: problems, frequency of the classes, and pictures with their label maps."""
from __future__ import annotations

import base64
import io
from collections import Counter
from pathlib import Path

import dominate
from dominate import tags
from PIL import Image

from datasets._check_pictures import thumbnails
from util.errors import UserError
from util.files import make_folder, write_text
from util.html import facts_block
from util.util import palette

SHOWN = 200  # lines a kind of problem on the page
PICTURES, SIDE = 12, 240

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2128; --line: #d9dde3; --soft: #5b6472; --bad: #b3261e;
        --odd: #8a5a00; --good: #1b6e3c; --bar: #4a7bb7; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15171a; --ink: #e9eaec; --line: #30343a; --soft: #9aa1ab; --bad: #f2867d; --odd: #e0b84c; --good: #7cc894;
          --bar: #5d8fce; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 20px 24px 48px; color: var(--ink); background: var(--paper);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 22px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 36px 0 10px; }
p { margin: 0 0 10px; color: var(--soft); }
.verdict { font-weight: 600; color: var(--good); }
.verdict.warning { color: var(--odd); }
.verdict.error { color: var(--bad); }
details { border: 1px solid var(--line); border-left: 4px solid var(--odd); border-radius: 6px; margin: 8px 0;
          padding: 8px 12px; }
details.error { border-left-color: var(--bad); }
details.note { border-left-color: var(--line); }
summary { cursor: pointer; font-weight: 600; }
summary span { color: var(--soft); font-weight: 400; }
.facts { border: 0; padding: 0; font-size: 13.5px; }
.facts summary { font-weight: 400; color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 8px 0; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
details ul { margin: 8px 0 2px; padding-left: 18px; font-size: 13.5px; max-height: 420px; overflow: auto; }
li { overflow-wrap: anywhere; margin: 2px 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
td.number, th.number { text-align: right; }
td.bar { width: 40%; min-width: 70px; }
td.bar div { height: 9px; border-radius: 2px; background: var(--bar); min-width: 1px; }
.swatch { display: inline-block; width: 13px; height: 13px; border-radius: 3px; border: 1px solid #8886;
          vertical-align: -2px; margin-right: 7px; }
tr.never td { color: var(--soft); }
.scenes { display: grid; gap: 18px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr)); }
figure { margin: 0; min-width: 0; }
figure div { display: flex; gap: 4px; }
figure img { flex: 1 1 0; min-width: 0; max-width: 33%; height: auto; display: block; border-radius: 4px; }
figcaption { font-size: 13px; color: var(--soft); overflow-wrap: anywhere; margin-top: 4px; }
@media (max-width: 600px) {
  body { padding: 14px 14px 32px; font-size: 14px; }
  .bar, .count { display: none; }
}
"""


def write_report(path, result, facts=()) -> None:
    """Write the page of a check's `Result` as one file, pictures included. Raises UserError if it cannot be written.

    facts: what made it, see `util.page_facts`.
    """
    page = dominate.document(title=f"Check of {result.root.name}")
    with page.head:
        tags.meta(charset="utf-8")
        tags.meta(name="viewport", content="width=device-width, initial-scale=1")
        tags.style(dominate.util.raw(_STYLE))
    with page:
        _headline(result)
        if facts:
            facts_block(facts)
        _problems(result)
        _classes(result)
        _pictures(result)
    make_folder(Path(path).parent)
    write_text(path, page.render())


def _headline(result) -> None:
    errors, warnings = result.counts()
    counts = Counter(scene.phase for scene in result.scenes)
    tags.h1(str(result.root))
    classes = f"{result.label_nc} classes" if result.label_nc else "number of classes unknown"
    numbering = f", numbered {result.spec.scheme}" if result.spec.scheme else ""
    tags.p(f"{', '.join(f'{n:,} {phase}' for phase, n in counts.items())} pictures; {classes}{numbering}")
    verdict = f"{_many(errors, 'error')}, {_many(warnings, 'warning')}" if errors or warnings else "Nothing to mend."
    tags.p(verdict, cls="verdict" + (" error" if errors else " warning" if warnings else ""))


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _problems(result) -> None:
    if not result.problems:
        return
    tags.h2("What was found")
    for severity, kind, problems in result.grouped():
        with tags.details(cls=severity, open=len(problems) <= 5):
            with tags.summary(kind.capitalize() if kind[0].islower() and "." not in kind else kind):
                tags.span(f" · {_many(len(problems), severity)}")
            with tags.ul():
                for problem in problems[:SHOWN]:
                    tags.li(problem.message)
                if len(problems) > SHOWN:
                    tags.li(f"and {len(problems) - SHOWN:,} more")


def _classes(result) -> None:
    """A table of the classes: the number of maps that show each, and its share of all pixels."""
    if not result.pixels:
        return
    pixels = sum(result.pixels.values(), Counter())
    maps = sum(result.pictures.values(), Counter())
    total, labelled = max(1, sum(pixels.values())), max(1, result.labelled.total())
    known = range(result.label_nc or 0)
    colours = palette(max(result.label_nc or 0, min(max(pixels) + 1, 256)), result.spec.class_colors)
    top = max(pixels.values()) / total
    tags.h2("Classes")
    with tags.div(cls="wide"), tags.table():
        with tags.tr():
            for title, kind in (("id", "number"), ("class", ""), ("maps", "number count"), ("of maps", "number"),
                                ("of pixels", "number"), ("", "bar")):
                tags.th(title, cls=kind)
        for i in sorted({*known, *pixels}):
            with tags.tr(cls="" if pixels[i] else "never"):
                _class_row(i, result, colours, (maps[i], maps[i] / labelled, pixels[i] / total, top))


def _class_row(i: int, result, colours, numbers) -> None:
    maps, of_maps, of_pixels, top = numbers
    out = bool(result.maps) and i >= result.maps.channels
    red, green, blue = (255, 0, 255) if out or i >= len(colours) else colours[i]
    tags.td(str(i), cls="number")
    with tags.td():
        tags.span(cls="swatch", style=f"background: rgb({red}, {green}, {blue})")
        tags.span(f"{i} (out of range)" if out else result.spec.name_of(i))
    tags.td(f"{maps:,}", cls="number count")
    tags.td(f"{of_maps:.1%}", cls="number")
    tags.td(f"{of_pixels:.2%}", cls="number")
    with tags.td(cls="bar"):
        if of_pixels:
            tags.div(style=f"width: {of_pixels / top:.1%}")


def _pictures(result) -> None:
    """Photos with their maps, evenly spread over all phases; files that cannot be read are among the problems."""
    shown = _with_pictures(result)
    if not shown:
        return
    tags.h2("Pictures to look at")
    tags.p("Photo, label map, and the one over the other: borders should meet. Magenta is out of range.")
    with tags.div(cls="scenes"):
        for scene, images in shown:
            with tags.figure():
                with tags.div():
                    for image in images:
                        tags.img(src=_data_uri(image), alt="", width=image.width, height=image.height)
                tags.figcaption(f"{scene.phase}: {scene.key}")


def _with_pictures(result) -> list[tuple]:
    scenes = [scene for scene in result.scenes if "label" in scene.files or "B" in scene.files]
    scenes = [scenes[i * len(scenes) // PICTURES] for i in range(PICTURES)] if len(scenes) > PICTURES else scenes
    highest = max((max(pixels) for pixels in result.pixels.values()), default=0)
    colours = palette(result.maps.channels if result.maps else min(highest + 1, 256), result.spec.class_colors)
    found = []
    for scene in scenes:
        try:
            images = thumbnails(scene, result.maps, colours, SIDE)
        except UserError:
            continue
        if images:
            found.append((scene, images))
    return found


def _data_uri(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
