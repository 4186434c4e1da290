"""Pages in a real browser: hostile names run nothing, and nothing scrolls sideways. Needs Chromium on the machine."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from util.html import HTML
from util.result_page import ResultPage

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=2000",
]
HOSTILE = [
    "<script>document.title='owned'</script>.png",
    "<img src=x onerror=\"document.title='owned'\">.png",
    "\"><svg onload=document.title='owned'>.png",
    "javascript:document.title='owned'",
    "'); document.title='owned'; ('",
    "</style><script>document.title='owned'</script>",
    "&lt;script&gt;",
    "a\u202eb\n<b>.png",
    "../../../etc/passwd",
]

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")


def dom(page, profile) -> str:
    """The page as it stands after everything in it that runs has run."""
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


def elements(html) -> tuple[set, set]:
    """The names of the elements of a page, and of their attributes."""
    tags, attributes = set(), set()

    class Collect(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.add(tag)
            attributes.update(name for name, _ in attrs)

    Collect().feed(html)
    return tags, attributes


def test_hostile_names_run_nothing(tmp_path):
    picture = np.full((8, 8, 3), 128, np.uint8)
    with ResultPage(
        tmp_path / "page", "<script>document.title='owned'</script>", legend=[(n, (1, 2, 3)) for n in HOSTILE]
    ) as page:
        for name in HOSTILE:
            page.add_row(name, {name: picture, "synthesized_image": picture}, remark=name)
        page.note(HOSTILE[0])
        page.set_metrics(
            {"pictures": 1, "ssim": 0.5, "by_class": {n: {"region_color_error": 1.0, "pictures": 1} for n in HOSTILE}}
        )
        page.save()
    seen = dom(tmp_path / "page" / "index.html", tmp_path / "profile")
    title = re.search(r"<title>(.*?)</title>", seen, re.S)[1]
    assert title.startswith("&lt;script&gt;"), title
    tags, attributes = elements(seen)
    assert not tags & {"script", "svg", "iframe"} and not [a for a in attributes if a.startswith("on")], (tags, attributes)
    outside = [
        p
        for p in tmp_path.rglob("*")
        if p.is_file() and not p.is_relative_to(tmp_path / "page") and not p.is_relative_to(tmp_path / "profile")
    ]
    assert outside == []


def test_the_trap_would_spring(tmp_path):
    page = tmp_path / "index.html"
    page.write_text(f"<title>quiet</title>{HOSTILE[0]}")
    assert "<title>owned</title>" in dom(page, tmp_path / "profile")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_scrolls_sideways(tmp_path, width):
    page = HTML(tmp_path / "page", "A title " * 20)
    picture = np.full((64, 512, 3), 128, np.uint8)
    from util.util import save_image

    for i in range(3):
        save_image(picture, tmp_path / "page" / "images" / f"{i}.jpg")
    page.add_images([f"{i}.jpg" for i in range(3)], ["x" * 80] * 3, [f"{i}.jpg" for i in range(3)], heading="y" * 300)
    page.add_table(["class", "error"], [["z" * 120, 1.0]])
    page.save()
    # the page's own policy forbids scripts, so a frame of the width measures it from outside
    html = (tmp_path / "page" / "index.html").read_text().replace("Content-Security-Policy", "x-no-policy")
    (tmp_path / "page" / "index.html").write_text(html)
    (tmp_path / "frame.html").write_text(
        f"<iframe id=f src=page/index.html style='width:{width}px;height:800px;border:0'></iframe><p id=r></p><script>"
        "f.onload=()=>{let d=f.contentDocument.documentElement;"
        "r.textContent='scroll '+d.scrollWidth+' of '+d.clientWidth}</script>"
    )
    done = subprocess.run(
        [
            CHROMIUM,
            *FLAGS,
            "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r"scroll (\d+) of (\d+)", done.stdout)
    assert found and int(found[1]) <= int(found[2]) == width, done.stdout[-300:]
