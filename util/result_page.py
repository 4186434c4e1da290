"""The pages of a test run: inputs and results of each picture, in the order of the data and sorted by each figure."""
from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor

from util.html import HTML, readable
from util.marks import save_made
from util.run_files import RunFiles
from util.util import UniqueStems, safe_stem, save_image

_WRITERS = 2
_MOST_PENDING = 32  # pictures that wait to be written, at most
_FIGURES = (("region_color_error", "colour error of regions, of 255 (0 is exact)"), ("ssim", "SSIM (1 is identical)"),
            ("psnr", "PSNR, dB (higher is nearer)"), ("miou", "mean IoU of classes (1 is exact)"),
            ("miou_large", "mean IoU of large classes"), ("pixel_accuracy", "pixels that are right (1 is all)"),
            ("attribute_accuracy", "attributes that are right (1 is all)"),
            ("accuracy", "verification accuracy (1 is all pairs right)"), ("tar", "TAR at FAR 1e-3: same people accepted"),
            ("rank1", "rank-1 retrieval: the nearest picture shows the same person"),
            ("pictures", "pictures compared with the truth"))
_COLUMNS = {"region_color_error": "colour error", "iou": "IoU", "share": "share of pixels", "accuracy": "accuracy",
            "precision": "precision", "recall": "recall", "frequency": "share that has it"}  # of a class or an attribute
_SORTED_BY = {"ssim": ("SSIM", True), "region_color_error": ("colour error", False), "psnr": ("PSNR", True),
              "miou": ("mIoU", True), "pixel_accuracy": ("pixels right", True),
              "attribute_accuracy": ("share of attributes right", True)}  # of a picture: title, whether more is better
_MOST_SORTED = 200  # rows of a page sorted by a figure
_REMARKS = (("ssim", "SSIM {}"), ("region_color_error", "colour error {}"), ("psnr", "PSNR {} dB"), ("miou", "mIoU {}"),
            ("pixel_accuracy", "pixels right {}"), ("attribute_accuracy", "attributes right {}"))  # of a picture


class ResultPage:
    """Rows of pictures, which threads write in the background; `save()` waits for them and writes the page.

    Use it as a context manager, or call `close()`, to end the threads. files: the record of the files of this run.
    marks: whether files of drawn pictures say that they were made (see `util.marks`).
    """

    def __init__(self, web_dir, title, legend=None, width=512):
        """
        Args:
            web_dir: folder of the page, such as results/NAME/test_latest.
            legend: [(class name, (r, g, b)), ...] or None.      width: maximum width of a picture in CSS pixels.
        """
        self._html = HTML(web_dir, title)
        self.files = RunFiles(web_dir)
        self.marks = False
        self._legend, self._width = legend, width
        self._rows: list[tuple] = []
        self._notes: list[str] = []
        self._metrics: dict | None = None
        self._facts: list[tuple[str, str]] = []
        self._links: tuple[list, str] | None = None
        self._pairs: dict[str, list] = {}
        self._curves: list[tuple[str, str]] = []
        self._stem = UniqueStems()
        self._pool = ThreadPoolExecutor(_WRITERS)
        self._pending: deque = deque()

    def add_row(self, name, visuals, remark=None, figures=None):
        """Add one picture's visuals and write them as `images/<stem>_<label>.jpg`.

        Args:
            name: the picture's name, with its folders ('a/b.png'). See `util.util.safe_stem`.
            visuals: {label: (H, W, 3) uint8}, in the order of the columns. The arrays must not be changed afterwards.
            remark: small text beside the name; by default the figures.
            figures: {figure: value or None} of the picture, such as its SSIM, for pages in their order.

        Returns:
            The stem, unique on this page.

        Raises:
            UserError: this or an earlier picture cannot be written.
        """
        stem, pictures = self._stem(name), []
        for label, image in visuals.items():
            file_name = f"{stem}_{safe_stem(label)}.jpg"
            pictures.append((file_name, str(label).replace("_", " "), (image.shape[1], image.shape[0])))
            made = self.marks and str(label).startswith("synthesized")
            self._pending.append(self._pool.submit(self._write, image, f"images/{file_name}", made))
        figures = figures or {}
        self._rows.append((str(name), pictures, remark or remark_of(figures), figures))
        self._collect(_MOST_PENDING)
        return stem

    def _write(self, image, name, made=False):
        with self.files.writing(name) as path:
            (save_made if made else save_image)(image, path)

    def reserve(self, names):
        """Reserve the stems of pictures that other processes write, and that come before this process's."""
        for name in names:
            self._stem(name)

    def finished_rows(self) -> list[tuple]:
        """The rows, once their pictures are written, for `extend` of another page. Raises UserError as `save` does."""
        self._collect(0)
        return self._rows

    def extend(self, rows):
        """Add rows whose pictures another page of the same folder has written."""
        self._rows = self._rows + rows

    def note(self, text):
        """Add a note above the pictures, such as that --how_many left some out."""
        if text not in self._notes:
            self._notes.append(text)

    def add_facts(self, rows):
        """Show how the page was made (see `util.page_facts`)."""
        self._facts = list(rows)

    def add_links(self, entries, what):
        """Link other pages, see `HTML.add_links`."""
        self._links = list(entries), what

    def set_legend(self, entries):
        """Replace the legend, once it is known which classes occur."""
        self._legend = entries

    def set_metrics(self, summary):
        """Show the `summary()` of metrics."""
        self._metrics = summary

    def add_pairs(self, title, pairs):
        """Show pairs of pictures on the page pairs.html. pairs: [(name, name, cosine)] of rows of this page."""
        self._pairs[title] = list(pairs)

    def add_curve(self, name, points, across, up):
        """Show a curve of points (n, 2) from 0 to 1, written as the picture `name`. across, up: what the axes are."""
        from util.plots import plot_curve
        with self.files.writing(name) as path:
            plot_curve(points, path, across, up)
        self._curves.append((name, f"{up} over {across}"))

    def save(self):
        """Wait for the pictures, write index.html, pages in the order of each figure, and the list of the page's files.

        Raises UserError naming a file that cannot be written.
        """
        self._collect(0)
        orders = self._orders()
        self._write_page("index.html", self._rows, orders)
        for name, (what, rows) in orders.items():
            self._write_page(name, rows, orders, what)
        if self._pairs:
            self._write_pairs()
        self.files.finish(f"images/{file}" for _, pictures, _, _ in self._rows for file, _, _ in pictures)

    def _orders(self):
        """{file name: (order, rows)} of the pages sorted by a figure, for figures that several pictures have."""
        found = {}
        for key, (title, more_is_better) in _SORTED_BY.items():
            rows = sorted((row for row in self._rows if row[-1].get(key) is not None), key=lambda row: row[-1][key])
            if len(rows) > 1:
                worst, best = (rows, rows[::-1]) if more_is_better else (rows[::-1], rows)
                found[f"worst_{key}.html"] = f"worst {title} first", worst
                found[f"best_{key}.html"] = f"best {title} first", best
        return found

    def _write_page(self, name, rows, orders, what=""):
        """Write one of the pages. what: the order of its rows in words; '' for that of the data."""
        page = HTML(self._html.web_dir, self._html.title + f", {what}" * bool(what))
        if self._links:
            page.add_links(*self._links)
        if self._facts:
            page.add_facts(self._facts)
        for text in self._notes:
            page.add_note(text)
        if self._metrics and self._metrics.get("pictures"):
            _add_metrics(page, self._metrics)
        if self._legend:
            page.add_legend(self._legend)
        for file, text in self._curves if not what else ():
            page.add_figure(file, text)
        if self._pairs and not what:
            page.add_links([("pairs that are told apart worst", "pairs.html")], "More")
        if orders:
            entries = [("in the order of the data", "index.html"), *((text, file) for file, (text, _) in orders.items())]
            page.add_links([(text, None if file == name else file) for text, file in entries], "Order of the pictures")
        if what and len(rows) > _MOST_SORTED:
            page.add_paragraph(f"The first {_MOST_SORTED} of {len(rows):,} pictures, {what}.")
        for heading, pictures, remark, _ in rows[:_MOST_SORTED] if what else rows:
            files, texts, sizes = zip(*pictures) if pictures else ((), (), ())
            page.add_images(files, texts, files, self._width, sizes=sizes, heading=heading, remark=remark)
        if not rows:
            page.add_paragraph("No pictures.")
        with self.files.writing(name):
            page.save(name)

    def _write_pairs(self):
        """pairs.html: the first picture of each row of a pair, and how near they are."""
        page = HTML(self._html.web_dir, f"{self._html.title}, pairs")
        page.add_links([("all pictures", "index.html")], "More")
        first = {name: pictures[0] for name, pictures, _, _ in self._rows if pictures}
        for title, pairs in self._pairs.items():
            page.add_header(title)
            for one, other, cosine in pairs:
                files, _, sizes = zip(first[one], first[other])
                page.add_images(files, (one, other), files, self._width, sizes=sizes, heading=f"cosine {cosine:.3f}")
        with self.files.writing("pairs.html"):
            page.save("pairs.html")

    def close(self):
        """Wait for the pictures and end the threads. Raises UserError as `save` does."""
        try:
            self._collect(0)
        finally:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.close()
        else:  # errors of pending pictures must not replace this one
            self._pool.shutdown(cancel_futures=True)

    def _collect(self, most):
        while self._pending and (len(self._pending) > most or self._pending[0].done()):
            self._pending.popleft().result()


def _add_metrics(page, summary):
    page.add_figures([(summary[key], what) for key, what in _FIGURES if summary.get(key) is not None])
    for what in ("class", "attribute"):
        by_name = summary.get(f"by_{what}") or {}
        if not by_name:
            continue
        keys = [key for key in _COLUMNS if key in next(iter(by_name.values()))]
        rows = [(name, *(entry[key] if entry[key] is None else float(entry[key]) for key in keys), entry["pictures"])
                for name, entry in by_name.items()]
        rows.sort(key=lambda row: row[1], reverse=keys[0] == "region_color_error")  # the worst first
        title = _COLUMNS[keys[0]]
        page.add_table([what, *(_COLUMNS[key] for key in keys), "pictures"], rows,
                       summary=f"{title[0].upper()}{title[1:]} by {what}")


def remark_of(figures) -> str:
    """One line of a picture's figures (see `PictureMetrics.add`): 'SSIM 0.712 · colour error 9.31 · PSNR 21.4 dB'."""
    return " · ".join(text.format(readable(figures[key])) for key, text in _REMARKS if figures.get(key) is not None)
