"""Pages, logs and curves: what people look at is there, whole, and cannot be turned against them."""
import json
import os
import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

from util import loss_log, page_facts, page_links
from util.errors import UserError
from util.html import HTML
from util.plots import moving_mean, plot_losses, thin
from util.progress import Forecast, Progress
from util.result_page import ResultPage, remark_of
from util.run_files import RunFiles
from util.visualizer import Visualizer

GBK = "\udcbd\udcc4"  # a name that is no UTF-8
PICTURE = np.full((6, 8, 3), 128, np.uint8)
HOSTILE = ["<script>alert(1)</script>.png", 'a b#c%20".png', "../../x", "ünï.png", "a/b.png", "a_b.png",
           "'><img src=x>"]
LINE = re.compile(r"^\(epoch: (\d+), iters: (\d+), time: [\d.]+[^)]*\) (.*)$")


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser reads them; links: {text: address} of those to other pages."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.folder, self.links, self._nav = [], "", path.parent, {}, None
        self.feed(path.read_text(encoding="utf-8"))
        for name in self.links.values():
            path = os.path.join(os.fsencode(self.folder), unquote_to_bytes(name))
            assert not re.match(r"[a-z]+:|/", name) and os.path.isfile(path), name

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._nav = "" if tag == "nav" else dict(attrs)["href"] if tag == "a" and self._nav is not None else self._nav

    def handle_endtag(self, tag):
        self._nav = None if tag == "nav" else self._nav and ""

    def handle_data(self, data):
        self.text += data
        if self._nav:
            self.links[data] = self._nav

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def files(self):
        """The files its pictures and links name, after checking that each is there, inside the page's folder."""
        names = [a["src"] for a in self.all("img")] + [a["href"] for a in self.all("a") if a["href"] not in self.links.values()]
        paths = [self.folder / unquote(name) for name in names]
        for name, path in zip(names, paths):
            assert not re.match(r"[a-z]+:|/|\.\.", name) and path.is_file(), name
        return paths


def options(tmp_path, **more):
    return SimpleNamespace(**{"isTrain": True, "name": "faces", "checkpoints_dir": str(tmp_path), "no_html": False,
                              "display_winsize": 64, "tf_log": False, "niter": 2, "niter_decay": 3, **more})


def test_hostile_names_stay_text_and_stay_inside(tmp_path):
    with ResultPage(tmp_path / "web", "<b>title</b>", legend=[("</li><script>", (1, 2, 3))]) as page:
        for name in HOSTILE:
            page.add_row(name, {"input_label": PICTURE, "synthesized_image": PICTURE})
        page.note("<i>note</i>")
        page.save()
    read = Page(tmp_path / "web" / "index.html")
    assert not read.all("script") and not read.all("b") and not read.all("i")
    assert len(read.all("img")) == 2 * len(HOSTILE) == len({a["src"] for a in read.all("img")})
    assert len(read.files()) == 4 * len(HOSTILE)
    for text in [*HOSTILE, "<b>title</b>", "<i>note</i>", "</li><script>"]:
        assert text in read.text
    assert [p.name for p in tmp_path.iterdir()] == ["web"]


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def write_page(folder, names, save=True):
    with ResultPage(folder, "t") as page:
        page.files.clear()
        for name in names:
            page.add_row(name, {"real_image": PICTURE})
        if save:
            page.save()
        return page.files.strangers()


def test_a_page_removes_what_an_earlier_one_wrote_and_nothing_else(tmp_path):
    write_page(tmp_path, ["a", "b", "c"])
    kept = {"images/mine.jpg": b"x", "notes.txt": b"x", "images/b_real_image.jpg": b"x", "images/c_real_image.txt": b"x"}
    for name, content in kept.items():  # b's picture is no longer the one that was written
        (tmp_path / name).write_bytes(content)
    said = write_page(tmp_path, ["a"])
    assert files_in(tmp_path) == sorted(["images/a_real_image.jpg", "index.html", "page_files.json", *kept])
    assert all((tmp_path / name).read_bytes() == content for name, content in kept.items())
    assert all((name in said) == name.startswith("images/") for name in kept) and "\n" not in said
    assert "a_real_image" not in said


def test_what_a_killed_run_wrote_is_known(tmp_path):
    write_page(tmp_path, ["a", "b"], save=False)
    (tmp_path / "images" / ".writing-0-77-3.jpg").write_bytes(b"half")
    with open(tmp_path / ".written-1.jsonl", "w") as stream:  # another process, killed between recording and writing
        stream.write('["images/c_real_image.jpg", null]\n["images/d_re')
    assert len(files_in(tmp_path)) == 5
    assert not write_page(tmp_path, ["e"])
    assert files_in(tmp_path) == ["images/e_real_image.jpg", "index.html", "page_files.json"]


@pytest.mark.parametrize("name", ["../out.txt", "images/../../out.txt", "/out.txt", "images/sub/in.txt", "sub/in.txt", ".", ""])
def test_a_list_from_elsewhere_reaches_no_further_than_the_folder(tmp_path, name):
    for file in ("out.txt", "web/images/sub/in.txt", "web/sub/in.txt"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("mine")
    names = [name, str(tmp_path / "out.txt")]
    (tmp_path / "web" / "page_files.json").write_text(json.dumps({"files": dict.fromkeys(names, 4)}))
    (tmp_path / "web" / ".written-0.jsonl").write_text("".join(json.dumps([n, None]) + "\n" for n in names))
    RunFiles(tmp_path / "web").clear()
    assert files_in(tmp_path) == ["out.txt", "web/images/sub/in.txt", "web/sub/in.txt"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": [1]}', '{"files": {"a": "x"}}', "\u00ff"])
def test_a_file_of_the_lists_name_that_is_none_stays_until_a_page_is_written(tmp_path, text):
    (tmp_path / "page_files.json").write_text(text, encoding="latin-1")
    RunFiles(tmp_path).clear()
    assert (tmp_path / "page_files.json").is_file()


def test_pictures_are_lazy_described_and_do_not_jump(tmp_path):
    with ResultPage(tmp_path, "t") as page:
        page.add_row("one.png", {"real_image": PICTURE})
        page.save()
    image, = Page(tmp_path / "index.html").all("img")
    assert (image["width"], image["height"], image["loading"]) == ("8", "6", "lazy")
    assert image["alt"] == "real image: one.png"


def test_page_allows_no_scripts_and_refreshes_only_when_asked(tmp_path):
    for refresh in (0, 30):
        HTML(tmp_path, "t", refresh).save()
        metas = {a["http-equiv"]: a["content"] for a in Page(tmp_path / "index.html").all("meta") if "http-equiv" in a}
        assert "default-src 'none'" in metas["Content-Security-Policy"]
        assert "script-src" not in metas["Content-Security-Policy"]
        assert metas.get("refresh") == ("30" if refresh else None)


def test_result_page_keeps_order_and_shows_figures(tmp_path):
    names = [f"{i}.png" for i in reversed(range(80))]  # more than may wait to be written
    with ResultPage(tmp_path, "t") as page:
        for name in names:
            page.add_row(name, {"input_label": PICTURE, "real_image": PICTURE}, remark_of({"ssim": 0.5, "psnr": None}))
        page.set_metrics({"pictures": 80, "ssim": 0.51234, "psnr": None, "region_color_error": 14.0,
                          "by_class": {"hair": {"region_color_error": 21.5, "pictures": 3}}})
        page.save()
    read = Page(tmp_path / "index.html")
    images = [unquote(a["src"]) for a in read.all("img")]
    assert images == [f"images/{n[:-4]}_{what}.jpg" for n in names for what in ("input_label", "real_image")]
    assert "0.512" in read.text and "14" in read.text and "hair" in read.text and "SSIM 0.5" in read.text
    assert len(read.files()) == 4 * len(names)


def scored_page(folder, figures):
    with ResultPage(folder, "t") as page:
        page.files.clear()
        for name, of_one in figures.items():
            page.add_row(name, {"real_image": PICTURE}, figures=of_one)
        page.save()
        return page.files.strangers()


def test_pages_in_the_order_of_each_figure(tmp_path, monkeypatch):
    figures = {"a": {"ssim": 0.5, "psnr": None, "region_color_error": 9.0}, "b": {"ssim": 0.25, "psnr": 20.0},
               "c": {"ssim": 0.75, "psnr": None, "region_color_error": 3.0}, "d": {}}
    scored_page(tmp_path, figures)
    pages = {name: Page(tmp_path / f"{name}.html") for name in ("index", "worst_ssim", "best_ssim", "worst_region_color_error",
                                                                "best_region_color_error")}
    assert {path.stem for path in tmp_path.glob("*.html")} == pages.keys(), "of one picture there is no order"
    rows = {name: "".join(unquote(a["src"])[7] for a in page.all("img")) for name, page in pages.items()}
    assert rows == {"index": "abcd", "worst_ssim": "bac", "best_ssim": "cab", "worst_region_color_error": "ac",
                    "best_region_color_error": "ca"}
    for name, page in pages.items():
        assert set(page.links.values()) == {f"{other}.html" for other in pages} - {f"{name}.html"}
        assert "SSIM 0.5" in page.text
    monkeypatch.setattr("util.result_page._MOST_SORTED", 2)
    assert not scored_page(tmp_path, figures)
    assert "The first 2 of 3 pictures, worst SSIM first" in Page(tmp_path / "worst_ssim.html").text
    assert not scored_page(tmp_path, {"a": {"ssim": 0.5}}) and [p.name for p in tmp_path.glob("*.html")] == ["index.html"]
    (tmp_path / "best_ssim.html").write_text("mine")
    assert "best_ssim.html" in scored_page(tmp_path, {})


def test_unwritable_picture_is_named(tmp_path):
    page = ResultPage(tmp_path, "t")
    (tmp_path / "images").rmdir()
    with pytest.raises(UserError, match="one_real_image.jpg"):
        page.add_row("one.png", {"real_image": PICTURE})  # or here, where the writer is quick
        page.save()


def test_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "web").write_text("")
    with pytest.raises(UserError, match="web"):
        HTML(tmp_path / "web", "t")


@pytest.mark.parametrize("name, aspect, size", [("sub/a.png", 1.0, (8, 6)), ("sub/a.png", 2.0, (16, 6)),
                                                ("sub/a.png", 0.5, (8, 12))])
def test_test_pictures_on_either_kind_of_page(tmp_path, name, aspect, size):
    show = Visualizer(SimpleNamespace(name="n", checkpoints_dir=str(tmp_path), isTrain=False, aspect_ratio=aspect))
    plain = HTML(tmp_path / "plain", "t")
    show.save_images(plain, {"synthesized_image": PICTURE}, [name])
    plain.save()
    with ResultPage(tmp_path / "result", "t") as page:
        show.save_images(page, {"synthesized_image": PICTURE}, name)
        page.save()
    for folder, stem in (("plain", "a"), ("result", "sub_a")):
        image = Image.open(tmp_path / folder / "images" / f"{stem}_synthesized_image.jpg")
        assert image.size == size
        Page(tmp_path / folder / "index.html").files()


def test_log_line_is_the_one_programs_read():
    line = loss_log.format_line(1, 4, 0.016, {"G_GAN": 1.497, "G_VGG": 0, "D_fake": 0.4937})
    assert line == "(epoch: 1, iters: 4, time: 0.016) G_GAN: 1.497 D_fake: 0.494 "
    line = loss_log.format_line(2, 8, 1.5, {"D_real": -2.0}, {"data": "3%"})
    assert LINE.match(line).groups() == ("2", "8", "D_real: -2.000 ")
    assert loss_log.parse_line(line) == {"epoch": 2, "iters": 8, "terms": {"D_real": -2.0}, "rates": {}}


def test_log_survives_notes_and_power_cuts(tmp_path):
    path = tmp_path / "loss_log.txt"
    log = loss_log.LossLog(path, "today")
    log.add(loss_log.format_line(1, 4, 0.1, {"G": 1.0}))
    log.add("note: epoch: 3")
    with open(path, "a") as file:
        file.write("(epoch: 1, iters: 8, time: 0.100) G: 1.2")
    assert [e["iters"] for e in loss_log.read(path)] == [4]
    loss_log.LossLog(path, "tomorrow").add(loss_log.format_line(1, 8, 0.1, {"G": 3.0}))
    assert [e["terms"] for e in loss_log.read(path) if e["terms"]] == [{"G": 1.0}, {"G": 3.0}]
    assert path.read_text().count("\n================ Training Loss (tomorrow) ================\n") == 1
    assert loss_log.read(tmp_path / "none") == []


def test_resumed_run_replaces_what_it_repeats():
    places = [(1, 1), (1, 2), (2, 1), (2, 2), (2, 1), (2, 2), (3, 1)]
    entries = [{"epoch": e, "iters": i, "terms": {}} for e, i in places]
    assert [(e["epoch"], e["iters"]) for e in loss_log.newest_run(entries)] == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]
    assert len(loss_log.newest_run([*entries, {"epoch": 1, "iters": 1, "terms": {}}])) == 1


def test_curves_keep_spikes_and_means():
    x, y = np.arange(50_000.0), np.zeros(50_000)
    y[12_345] = 9
    kept_x, kept_y = thin(x, y)
    assert len(kept_x) <= 600 and kept_y.max() == 9
    assert moving_mean(np.array([1.0, 2, 6]), 3).tolist() == [1.5, 3, 4]


@pytest.mark.parametrize("count", [1, 100])
def test_curves_are_drawn_of_any_length(tmp_path, count):
    history = [{"epoch": 1, "iters": i + 1, "terms": {"G_GAN": 1.0, "D_real": float("nan"), "D_fake": float(i)}}
               for i in range(count)]
    assert plot_losses(history, None, tmp_path / "loss.png")
    assert Image.open(tmp_path / "loss.png").convert("L").getextrema()[0] < 128
    assert not plot_losses([], 10, tmp_path / "none.png") and not (tmp_path / "none.png").exists()


def train_a_little(show, epochs, step=0):
    for epoch in epochs:
        show.print_current_errors(epoch, 4, {"G_GAN": 1.0 / epoch, "D_real": 0.5}, 0.01, {"data": "3%"})
        visuals = {"input_label": PICTURE, "synthesized_image": PICTURE, "real_image": [PICTURE, PICTURE]}
        show.display_current_results(visuals, epoch, step + epoch)


def test_training_page(tmp_path, capsys):
    show = Visualizer(options(tmp_path), epoch_size=4)
    show.note("no VGG <weights>")
    show.note("no VGG <weights>")
    train_a_little(show, (1, 2))
    web = tmp_path / "faces" / "web"
    read = Page(web / "index.html")
    assert "Experiment name = faces" in read.text and "Epoch 2 of 5" in read.text and "no VGG <weights>" in read.text
    assert [unquote(a["src"]) for a in read.all("img")] == ["images/loss.png", *(
        f"images/epoch{n:03d}_{what}.jpg" for n in (2, 1)
        for what in ("input_label", "synthesized_image", "real_image_0", "real_image_1"))]
    read.files()
    log = (tmp_path / "faces" / "loss_log.txt").read_text()
    assert log.count("no VGG") == 1 == capsys.readouterr().out.count("no VGG")
    assert sum(bool(LINE.match(line)) for line in log.splitlines()) == 2
    show.close()
    assert not [a for a in Page(web / "index.html").all("meta") if a.get("http-equiv") == "refresh"]


FACTS = {"command": "train.py --name '<b>'", "dataroot": "data", "phase": "train", "seed": 3}


def test_the_pages_of_an_experiment_link_each_other(tmp_path):
    checkpoints, folder = tmp_path / "c", tmp_path / "c" / GBK
    opt = options(checkpoints, name=GBK, **FACTS)
    show = Visualizer(opt, epoch_size=4)
    train_a_little(show, (1,))
    training = folder / "web" / "index.html"
    assert Page(training).links == {"Losses": "../loss_log.txt"}
    (folder / "opt.txt").write_text("")
    for results in ("results", "other"):
        with ResultPage(tmp_path / results / GBK / "test_latest", "t") as page:
            index = page.files.folder / "index.html"
            page_facts.introduce(page, index, opt)
            page.save()
        page_links.record(folder, index, f"{results}: test_latest")
    assert Page(training).links.keys() == {"Losses", "Options", "results: test_latest", "other: test_latest"}
    assert Page(index).links.keys() == {"Losses", "Options", "Training", "results: test_latest"}
    index.unlink()
    train_a_little(show, (2,))
    assert Page(training).links.keys() == {"Losses", "Options", "results: test_latest"}


def test_facts_are_folded_away_and_stay_text(tmp_path):
    used = {"experiment": "b", "epoch": "latest", "averaged": True, "hashes": {"G": "0123abcd"},
            "trained": {"experiment": "a", "epoch": 3, "done": 2, "total": 1002, "steps": 501}}
    model = SimpleNamespace(weights_used=lambda: used, drawn_with=lambda: "<i>styles</i>")
    page = HTML(tmp_path, "t")
    page_facts.introduce(page, tmp_path / "index.html", options(tmp_path, **FACTS), model)
    page.save()
    read = Page(tmp_path / "index.html")
    assert len(read.all("details")) == 1 and "open" not in read.all("details")[0] and not read.all("b") and not read.all("i")
    for text in ("python train.py --name '<b>'", "b, latest, averages of --ema", "<i>styles</i>", "G 0123abcd", "data, train",
                 "2 epochs and 2 pictures (1,002 pictures, 501 steps) as a", "torch 2"):
        assert text in read.text, text


@pytest.mark.parametrize("text", ["[]", "{", '{"pages": {"../../../etc/passwd": "<b>", "javascript:alert(1)": "x"}}'])
def test_a_list_of_pages_from_elsewhere_does_no_harm(tmp_path, text):
    (tmp_path / "pages.json").write_text(text)
    assert all(address.startswith("../") for _, address in page_links.links_of(tmp_path, tmp_path / "web" / "index.html"))


def test_resume_appends_and_shows_earlier_epochs(tmp_path):
    train_a_little(Visualizer(options(tmp_path), 4), (1, 2))
    show = Visualizer(options(tmp_path), 4)
    train_a_little(show, (3,))
    page = Page(tmp_path / "faces" / "web" / "index.html")
    assert re.findall(r"epoch \[(\d)\]", page.text) == ["3", "2", "1"]
    assert [e["epoch"] for e in loss_log.read(show.log_name)] == [1, 2, 3]


def test_no_html_writes_the_log_only(tmp_path):
    show = Visualizer(options(tmp_path, no_html=True))
    train_a_little(show, (1,))
    show.close()
    assert [p.name for p in (tmp_path / "faces").iterdir()] == ["loss_log.txt"]


@pytest.mark.parametrize("flag, package", [("tf_log", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_tracker_without_its_package_names_the_flag(tmp_path, monkeypatch, flag, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"--{flag} needs the package"):
        Visualizer(options(tmp_path, **{flag: True}))


def test_progress_in_a_log_is_lines_and_ends_with_the_last_state(capfd, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with Progress(10, done=4) as bar:
        for _ in range(3):
            bar.update(2, epoch=(3, 200), waiting=0.03)
    text = capfd.readouterr().err
    last = text.strip().splitlines()[-1]
    assert "\r" not in text and "10/10 pictures" in last and "pictures/s" in last
    assert "epoch 3/200" in last and "waiting for data 3%" in last


def course_of(monkeypatch, pictures, seconds, first=60.0, steps=30):
    """The lines of a forecast over steps of one picture that take `seconds`, the first one `first`."""
    clock = [0.0]
    monkeypatch.setattr("util.progress.time.monotonic", lambda: clock[0])
    forecast, lines = Forecast(pictures, "Shorter: less."), []
    for i in range(steps):
        clock[0] += seconds if i else first
        lines.append(forecast.after(1))
    return lines


@pytest.mark.parametrize("pictures, seconds, words, step", [
    (19200, 11.25, "60 hours, at 11 s", 1), (40000, 0.1, "67 minutes, at 0.1 s", 20), (10 ** 6, 0.5, "6 days, at 0.5 s", 4)])
def test_a_long_training_is_told_once_before_it_is_waited_for(monkeypatch, pictures, seconds, words, step):
    lines = course_of(monkeypatch, pictures, seconds)
    assert lines[step] == f"This training will take about {words} a picture. Shorter: less."
    assert [line for i, line in enumerate(lines) if i != step] == [""] * (len(lines) - 1)


def test_a_short_training_is_not_spoken_of_whatever_its_first_step_took(monkeypatch):
    assert not any(course_of(monkeypatch, 300, 11.25, first=900.0)) and not any(course_of(monkeypatch, 3, 2000.0, steps=3))
