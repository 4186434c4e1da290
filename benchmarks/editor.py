"""From a brush stroke to the decoded picture in a browser: python -m benchmarks.editor --name sample_faces [--strokes 40]

Serves the experiment as edit.py does, in a process of its own, and paints in Chromium (needs requirements-dev.txt). The figures
are milliseconds: of the whole, median and 95 %, and the medians of its parts: encoding the map as PNG in the browser, reading
it, drawing, the picture as PNG, decoding it in the browser, and the rest, which is the network and waiting.
"""
from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys

from benchmarks._timing import PROJECT, report, rounded

WARM_UP = 5


def main() -> int:
    """Measure one experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strokes", type=int, default=40, help="strokes that are measured")
    flags, rest = parser.parse_known_args()  # the rest is edit.py's
    command = [sys.executable, "edit.py", "--port", "0", *rest]
    server = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        addresses = (re.search(r"Editor: (\S+)", line) for line in server.stdout)
        address = next((found[1] for found in addresses if found), None)
        if address is None:
            return server.wait()
        report("editor", "stroke to picture", unit="ms", **figures(painted(address, flags.strokes)))
    finally:
        server.terminate()
        server.wait()
    return 0


def painted(address: str, strokes: int) -> list[dict]:
    """Paint strokes in a browser, each after the last one's picture; what the page measured of each."""
    from playwright.sync_api import sync_playwright
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as play:
        page = play.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        page.goto(address)
        page.wait_for_selector("#picture[data-drawn]", timeout=120000)
        box = page.locator("#map").bounding_box()
        for i in range(WARM_UP + strokes):
            before = page.get_attribute("#picture", "data-drawn")
            x, y = (box[at] + box[side] * share for at, side, share in (
                ("x", "width", 0.3 + 0.4 * i / (WARM_UP + strokes)), ("y", "height", 0.2 + i % 5 / 10)))
            page.keyboard.press(".")  # the next class, so that each stroke changes something
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + 20, y + 10, steps=5)
            page.mouse.up()
            page.wait_for_function("n => document.getElementById('picture').dataset.drawn !== n", arg=before, timeout=120000)
        found = page.evaluate("performance.getEntriesByName('stroke to picture')"
                              ".map(one => ({...one.detail, all: one.duration}))")
    return found[1 + WARM_UP:]


def figures(strokes: list[dict]) -> dict:
    """The median and 95 % of the whole, and the medians of its parts, in milliseconds."""
    rows = []
    for stroke in strokes:
        server = {name: float(value) for name, value in re.findall(r"(\w+);dur=([\d.]+)", stroke["server"])}
        rows.append({"encoding": stroke["encoding"], **server, "decoding": stroke["decoding"],
                     "network": stroke["request"] - sum(server.values())})
    whole = sorted(stroke["all"] for stroke in strokes)
    return {"strokes": len(whole), "median": rounded(statistics.median(whole)),
            "p95": rounded(whole[int(0.95 * (len(whole) - 1))]),
            "shares": {part: rounded(statistics.median(row[part] for row in rows)) for part in rows[0]}}


if __name__ == "__main__":
    sys.exit(main())
