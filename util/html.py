"""Pages of pictures: headings, rows, legends, tables. Without scripts, with relative paths; all text is escaped."""
from __future__ import annotations

import contextlib
import math
import os
import re
from urllib.parse import quote

import dominate
from dominate import tags
from dominate.util import raw
from PIL import Image

from util.files import make_folder, write_text

# some browsers do not apply 'self' to pages opened as files, hence file:
_POLICY = ("default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'; base-uri 'none'; "
           "form-action 'none'")
_STYLE = """
:root{color-scheme:light dark;--paper:#fbfbfa;--card:#fff;--ink:#1d2024;--soft:#666c75;--line:#e4e5e8;--link:#2563b0;
--note:#fff6dd;--note-ink:#5b4300;--note-line:#e0b84c}
@media (prefers-color-scheme:dark){:root{--paper:#15171a;--card:#1d2024;--ink:#e9eaec;--soft:#9aa1ab;--line:#30343a;
--link:#86b4f0;--note:#332a12;--note-ink:#f3dfa6;--note-line:#8a6c1f}.plot img{filter:invert(.89) hue-rotate(180deg)}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere;-webkit-text-size-adjust:100%}
main{max-width:1240px;margin:0 auto;padding:2rem 1.5rem 4rem}
h1{font-size:1.55rem;line-height:1.25;font-weight:650;letter-spacing:-.01em;margin:0 0 .75rem}
h2{font-size:1.1rem;font-weight:650;margin:2.25rem 0 .75rem}
h3{font-size:.95rem;font-weight:600;margin:0}
p{margin:.35rem 0;color:var(--soft)}
a{color:var(--link)}
.note{margin:1rem 0;padding:.7rem 1rem;background:var(--note);color:var(--note-ink);border-left:4px solid
var(--note-line);border-radius:6px}
.row{padding:1.1rem 0 1.25rem;border-top:1px solid var(--line)}
h2+.row{border-top:0;padding-top:0}
.head{display:flex;flex-wrap:wrap;gap:.1rem 1rem;align-items:baseline;justify-content:space-between;margin-bottom:.6rem}
.head p{margin:0;font-size:.85rem;font-variant-numeric:tabular-nums}
.pics{display:flex;gap:1rem}
.pics figure{flex:1 1 0;min-width:0}
figure{margin:0}
.pics img,.plot img{display:block;width:100%;height:auto;border-radius:6px;background:var(--line)}
figcaption{margin-top:.35rem;font-size:.85rem;color:var(--soft)}
.strip{display:grid;grid-template-columns:repeat(12,1fr);gap:.5rem;margin:0 0 1.5rem}
.strip img{display:block;width:100%;max-width:8rem;height:auto;border-radius:4px;background:var(--line)}
.strip figure{min-width:0}
.strip figcaption{font-size:.75rem;margin-top:.15rem}
.plot{max-width:760px;margin:1.25rem 0;padding:.75rem;background:var(--card);border:1px solid var(--line);
border-radius:10px}
.plot img{background:#fff}
.legend{display:flex;flex-wrap:wrap;gap:.35rem 1.1rem;list-style:none;margin:1rem 0 1.25rem;padding:0;font-size:.875rem}
.legend li{display:flex;align-items:center;gap:.45rem}
.swatch{flex:none;width:1rem;height:1rem;border-radius:4px;border:1px solid #8886}
table{border-collapse:collapse;margin:.75rem 0;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem 1.5rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft)}
th,.number{overflow-wrap:normal}
td:first-child{min-width:5.5rem}
.number{text-align:right}
.scroll{overflow-x:auto}
details{margin:.75rem 0}
summary{cursor:pointer;color:var(--link)}
.facts{font-size:.85rem}
.facts summary{color:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.25rem;margin:.6rem 0}
dt{color:var(--soft)}
dd{margin:0;min-width:0}
.links{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:.5rem 0;font-size:.9rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.75rem;margin:1.25rem 0}
.figures div{padding:.8rem 1rem;background:var(--card);border:1px solid var(--line);border-radius:10px}
.figures b{display:block;font-size:1.5rem;line-height:1.2;font-weight:650;font-variant-numeric:tabular-nums}
.figures span{font-size:.85rem;color:var(--soft)}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1.25rem 1.5rem;margin:.75rem 0 1.5rem}
.gallery .pics{display:flex;gap:.4rem}
.gallery .head{margin-bottom:.35rem}
.many .row{content-visibility:auto;contain-intrinsic-size:auto 26rem}
@media (max-width:600px){main{padding:1.25rem 1rem 3rem}h1{font-size:1.25rem}.plot{padding:.4rem}
.pics{display:grid;grid-template-columns:repeat(auto-fit,minmax(6.5rem,1fr));gap:.6rem .5rem}
.pics figure{max-width:none!important}figcaption{font-size:.78rem;line-height:1.3}
.strip{grid-template-columns:repeat(6,1fr);gap:.4rem}.figures{grid-template-columns:1fr 1fr}th,td{padding-right:.75rem}}
"""
_IN_SHORT = ("weights", "trained", "drawn with", "date")  # facts that are shown while the others are folded
_MANY_ROWS = 200  # rows from which on the browser lays out only those in view
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?( to [-+]?[0-9]+(\.[0-9]+)?)?")  # or an interval


class HTML:
    """The page `web_dir`/index.html (or another name), built by the calls below and written by `save()`.

    Each part is rendered when it is added, so that the cost grows linearly with the number of rows.
    """

    def __init__(self, web_dir, title, refresh=0):
        """
        Args:
            web_dir: the page's folder; it is created, with `images`. Raises UserError if it cannot be.
            title: of the window and the page.      refresh: seconds after which browsers reload it; 0: never.
        """
        self.web_dir, self.title, self.refresh = os.fspath(web_dir), str(title), int(refresh)
        self.img_dir = os.path.join(self.web_dir, "images")
        make_folder(self.img_dir)
        self._parts: list[str] = []
        self._rows = 0

    def get_image_dir(self):
        """The folder of the pictures of `add_images`."""
        return self.img_dir

    def add_header(self, text):
        """Add a heading."""
        self._add(tags.h2(str(text)))

    def add_paragraph(self, text):
        """Add a paragraph of plain text."""
        self._add(tags.p(str(text)))

    def add_note(self, text):
        """Add a note in a coloured box."""
        self._add(tags.div(str(text), cls="note", role="note"))

    def add_facts(self, rows):
        """Add how the page was made (see `util.page_facts`), folded: [(name, text), ...]."""
        self._add(facts_block(rows))

    def add_links(self, entries, what):
        """Add a line of links to other pages: [(text, address relative to this page, or None for this page itself), ...].

        what: the label of the line for screen readers.
        """
        self._parts.append(links_line(entries, what))

    def add_images(self, ims, txts, links, width=512, sizes=None, heading=None, remark=None):
        """Add a row of pictures, side by side, each linked to a file.

        Args:
            ims, links: file names in `images/`.      txts: captions, also used as alternative text.
            width: maximum width in CSS pixels.
            sizes: (width, height) in pixels of each, to avoid layout shifts while they load; None reads them from the files.
            heading: name of the row.      remark: small text beside it.
        """
        row = tags.section(cls="row")
        if heading is not None or remark is not None:
            head = row.add(tags.div(cls="head"))
            head.add(tags.h3(str(heading or "")))
            if remark:
                head.add(tags.p(str(remark)))
        pictures = row.add(tags.div(cls="pics"))
        for i, (im, txt, link) in enumerate(zip(ims, txts, links)):
            linked = self._linked(im, f"{txt}: {heading}" if heading else str(txt), sizes[i] if sizes else None, link)
            pictures.add(tags.figure(linked, tags.figcaption(str(txt)), style=f"max-width:{int(width)}px"))
        self._rows += 1
        self._add(row)

    def add_gallery(self, entries):
        """Small rows of pictures, several abreast: [(heading, remark, [(file name in `images/`, text), ...]), ...]."""
        gallery = tags.div(cls="gallery")
        for heading, remark, pictures in entries:
            card = gallery.add(tags.section(tags.div(tags.h3(str(heading)), tags.p(str(remark)), cls="head")))
            row = card.add(tags.div(cls="pics"))
            for file, text in pictures:
                row.add(tags.figure(self._linked(file, f"{text}: {heading}"), tags.figcaption(str(text))))
            self._rows += 1
        self._add(gallery)

    def _linked(self, file, alt, size=None, link=None):
        """A picture in `images/`, linked to itself or another; its size is read from the file, where it is not given."""
        size = size or picture_size(os.path.join(self.img_dir, file))
        image = tags.img(src=f"images/{quote(file)}", alt=alt, loading="lazy", decoding="async", **_size(size))
        return tags.a(image, href=f"images/{quote(link or file)}")

    @contextlib.contextmanager
    def folded(self, summary, is_open=False):
        """What is added within is folded away under that text, or can be."""
        self._parts.append(f"<details{' open' * is_open}>{tags.summary(str(summary)).render(pretty=False)}")
        yield
        self._parts.append("</details>")

    def add_strip(self, files, texts, what):
        """Add a line of thumbnails in `images/`, each linked to itself. texts: a caption for each. what: what they show."""
        line = tags.div(cls="strip")
        for file, text in zip(files, texts):
            line.add(tags.figure(self._linked(file, f"{what}, {text}"), tags.figcaption(str(text))))
        self._add(line)

    def add_legend(self, entries):
        """Add a legend: [(name, (r, g, b)), ...] with 0..255."""
        legend = tags.ul(cls="legend", aria_label="Legend")
        for name, rgb in entries:
            swatch = tags.span(cls="swatch", style="background:rgb({:d},{:d},{:d})".format(*map(int, rgb)))
            legend.add(tags.li(swatch, tags.span(str(name))))
        self._add(legend)

    def add_table(self, headers, rows, summary=None):
        """Add a table; numbers are right-aligned and shown with three digits, or as they are where they are text already.

        With `summary`, it is folded under that text.
        """
        rows = [list(row) for row in rows]
        kinds = ["number" if any(map(_is_number, column)) else "" for column in zip(*rows)] or [""] * len(headers)
        table = tags.table(tags.thead(tags.tr([tags.th(str(h), cls=k) for h, k in zip(headers, kinds)])))
        body = table.add(tags.tbody())
        for row in rows:
            body.add(tags.tr([tags.td(readable(value), cls=kind) for value, kind in zip(row, kinds)]))
        table = tags.div(table, cls="scroll")
        self._add(tags.details(tags.summary(str(summary)), table) if summary else table)

    def add_figures(self, entries):
        """Add a line of large numbers: [(value, caption), ...]."""
        box = tags.div(cls="figures")
        for value, what in entries:
            box.add(tags.div(tags.b(readable(value)), tags.span(str(what))))
        self._add(box)

    def add_figure(self, src, alt):
        """Add a picture as wide as the page. src: relative to it, such as images/loss.png."""
        size = _size(picture_size(os.path.join(self.web_dir, src)))
        self._add(tags.figure(tags.img(src=quote(src), alt=str(alt), **size), cls="plot"))

    def save(self, name="index.html"):
        """Write the page under this name, atomically. Raises UserError."""
        page = dominate.document(title=self.title)
        page["lang"] = "en"
        with page.head:
            tags.meta(charset="utf-8")
            tags.meta(http_equiv="Content-Security-Policy", content=_POLICY)
            tags.meta(name="viewport", content="width=device-width, initial-scale=1")
            if self.refresh > 0:
                tags.meta(http_equiv="refresh", content=str(self.refresh))
            tags.style(raw(_STYLE))
        body = tags.main(tags.h1(self.title), raw("\n" + "\n".join(self._parts) + "\n"))
        if self._rows >= _MANY_ROWS:
            body["class"] = "many"
        page.body.add(body)
        write_text(os.path.join(self.web_dir, name), page.render(pretty=False))

    def _add(self, tag):
        self._parts.append(tag.render(pretty=False))


def facts_block(rows) -> tags.details:
    """The HTML of `add_facts`: those in _IN_SHORT in a line, under which all of them are folded."""
    table = tags.dl()
    for name, text in rows:
        table.add(tags.dt(str(name)), tags.dd(str(text)))
    short = [str(text) for name, text in rows if name in _IN_SHORT]
    return tags.details(tags.summary(" · ".join(short if len(short) > 1 else ["About this page", *short])), table, cls="facts")


def links_line(entries, what) -> str:
    """The HTML of `add_links`."""
    line = tags.nav(cls="links", aria_label=str(what))
    for text, href in entries:
        line.add(tags.a(str(text), href=href) if href else tags.span(str(text), aria_current="page"))
    return line.render(pretty=False)


def picture_size(path):
    """(width, height) in pixels, from the file's header; None if it is no readable picture."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError):
        return None


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) or isinstance(value, str) and bool(_NUMBER.fullmatch(value))


def readable(value) -> str:
    """Format a value: a float with three significant digits, None as '–', others as text."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if math.isfinite(value) and abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def _size(size):
    return {"width": int(size[0]), "height": int(size[1])} if size else {}
