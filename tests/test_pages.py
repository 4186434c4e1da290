"""Pages, logs and curves: what people look at is there, whole, and cannot be turned against them."""
import json
import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from util import loss_log
from util.errors import UserError
from util.html import HTML
from util.plots import moving_mean, plot_losses, thin
from util.progress import Progress
from util.result_page import ResultPage, remark_of
from util.run_files import RunFiles
from util.visualizer import Visualizer

PICTURE = np.full((6, 8, 3), 128, np.uint8)
HOSTILE = ["<script>alert(1)</script>.png", 'a b#c%20".png', "../../x", "ünï.png", "a/b.png", "a_b.png",
           "'><img src=x>"]
LINE = re.compile(r"^\(epoch: (\d+), iters: (\d+), time: [\d.]+[^)]*\) (.*)$")


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser reads them."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.folder = [], "", path.parent
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def files(self):
        """The files its pictures and links name, after checking that each is there, inside the page's folder."""
        names = [a["src"] for a in self.all("img")] + [a["href"] for a in self.all("a")]
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
    assert loss_log.parse_line(line) == {"epoch": 2, "iters": 8, "terms": {"D_real": -2.0}}


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
