"""The editor's page in a real browser: painting, styles, files, keys, touch. One browser and one server for all of it."""
import io
import json
import re
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the editor's packages are not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright's Python package is not installed")
from tests.conftest import LOSSES, NETWORK, SIZES, call, succeed  # noqa: E402
from tests.editing import NAMES, SIDE, HalvesParser, make_experiment, model_of, served  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
BACKGROUND, SKIN, LEFT, RIGHT, HAIR, HAT = range(6)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_of(make_experiment(tmp_path_factory.mktemp("page")))


@pytest.fixture(scope="module")
def address(model):
    with served(model, HalvesParser()) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Page:
    """The editor in a context of its own, and what a test does there. faults: errors of the page, requests to other hosts."""

    def __init__(self, browser, address, **how):
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **how)
        self.address, self.faults = address, []
        self.open()

    def open(self):
        self.page = page = self.context.new_page()
        page.set_default_timeout(60000)
        page.on("console", lambda message: self.faults.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith((self.address, "blob:")) else
                self.faults.append(request.url))
        page.goto(self.address)
        page.wait_for_selector("html[data-ready=yes]")
        page.wait_for_selector("#picture[data-drawn]")

    @property
    def drawn(self) -> int:
        return int(self.page.get_attribute("#picture", "data-drawn"))

    def after(self, action):
        """Do something, and wait for the picture that is drawn of it."""
        before = self.drawn
        action()
        self.page.wait_for_function("n => Number(document.getElementById('picture').dataset.drawn) > n", arg=before)

    def saved(self, kind="map") -> bytes:
        self.page.click("#save-menu summary")
        with self.page.expect_download() as download:
            self.page.click(f"[data-save={kind}]")
        with open(download.value.path(), "rb") as stream:
            return stream.read()

    @property
    def ids(self) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(self.saved())))

    @property
    def picture(self) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(self.saved("picture"))).convert("RGB")).astype(int)

    def at(self, x, y):
        """A point of the map, in pixels of the page."""
        box = self.page.locator("#map").bounding_box()
        scale = min((box["width"] - 2) / SIDE, (box["height"] - 2) / SIDE)
        return (box["x"] + box["width"] / 2 + (x - SIDE / 2) * scale, box["y"] + box["height"] / 2 + (y - SIDE / 2) * scale)

    def drag(self, *points):
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=4)
        self.page.mouse.up()

    def choose(self, name, tool=None, size=None):
        self.page.check(f"#class-{NAMES.index(name)}")
        if tool:
            self.page.click(f"[data-tool={tool}]")
        if size:
            self.page.locator("#size").fill(str(size))

    def fresh(self):
        """A map of nothing but background."""
        self.page.click("#open")
        self.page.click("#open-empty")
        if self.page.locator("#lose-dialog[open]").count():
            self.after(lambda: self.page.click("#lose"))


@pytest.fixture
def page(browser, address):
    page = Page(browser, address)
    yield page
    page.context.close()
    assert page.faults == []


def test_a_hat_painted_with_the_mouse_changes_the_picture_there_and_undo_restores_the_map(page):
    before, picture = page.ids, page.picture
    assert page.page.locator("#hints li").count() == 3
    page.choose("hat", "brush", 9)
    page.after(lambda: page.drag((20, 12), (44, 12)))
    after, drawn = page.ids, page.picture
    changed = after != before
    assert set(np.unique(after[changed])) == {HAT} and 150 < (after[8:17, 16:49] == HAT).sum() <= 9 * 33
    assert not changed[18:].any() and not changed[:7].any() and set(np.unique(after)) <= set(range(6))
    difference = np.abs(drawn - picture).mean(2)
    assert difference[changed].mean() > 3 * difference[~changed].mean() and "drawn in" in page.page.inner_text("#time")
    page.after(lambda: page.page.keyboard.press("Control+z"))
    assert np.array_equal(page.ids, before) and np.array_equal(page.picture, picture)
    page.after(lambda: page.page.keyboard.press("Control+Shift+z"))
    assert np.array_equal(page.ids, after)
    page.page.locator("#strip button").first.click()
    page.page.wait_for_function("() => document.querySelectorAll('#strip button').length == 5")
    assert np.array_equal(page.ids, before)


def test_a_hundred_steps_are_undone_bit_for_bit(page):
    page.fresh()
    before = page.ids
    page.choose("hat", "brush", 1)
    keys = [key for row in range(4) for key in ["ArrowDown"] + 25 * ["ArrowRight" if row % 2 else "ArrowLeft"]]
    press = """([keys, ctrl]) => keys.forEach((key) => document.getElementById("map").dispatchEvent(
        new KeyboardEvent("keydown", { key, ctrlKey: ctrl, bubbles: true })))"""
    page.page.evaluate(press, [[key for move in keys for key in (move, "Enter", "Enter")], False])
    after = page.ids
    assert np.all(after[129:133, 103:129] == HAT) and (after != before).sum() == 104
    page.page.evaluate(press, [104 * ["z"], True])
    assert np.array_equal(page.ids, before) and page.page.is_disabled("#undo")
    page.page.evaluate(press, [104 * ["y"], True])
    assert np.array_equal(page.ids, after)


def test_fill_lasso_mirror_move_eraser_pick_and_protect(page):
    page.fresh()
    side = page.page.evaluate("document.getElementById('map').clientWidth") and 256
    factor = side / SIDE  # an empty map is larger than the data's
    page.choose("skin", "lasso")
    page.after(lambda: page.drag((16, 16), (48, 16), (48, 48), (16, 48)))
    ids = page.ids
    assert ids.shape == (side, side) and abs((ids == SKIN).sum() - (32 * factor) ** 2) < 0.02 * (32 * factor) ** 2
    page.choose("hair", "fill")
    page.after(lambda: page.page.mouse.click(*page.at(5, 5)))
    filled = page.ids
    assert np.array_equal(filled == HAIR, ids == BACKGROUND) and np.array_equal(filled == SKIN, ids == SKIN)
    page.choose("l_eye", "brush", 12)
    page.page.keyboard.press("x")
    page.after(lambda: page.page.mouse.click(*page.at(24, 30)))
    eyes = page.ids
    assert (eyes == LEFT).sum() > 60 and np.array_equal(eyes == RIGHT, (eyes == LEFT)[:, ::-1])
    page.page.keyboard.press("x")
    page.page.keyboard.press("m")
    page.after(lambda: page.drag((24, 30), (28, 38)))
    moved = page.ids
    assert (moved == LEFT).sum() == (eyes == LEFT).sum() and (moved[eyes == LEFT] == SKIN).mean() > 0.9
    page.choose("hat", "brush", 40)
    page.page.get_by_label("Protect skin").check()
    page.after(lambda: page.drag((8, 20), (30, 20)))
    guarded = page.ids
    assert np.array_equal(guarded == SKIN, moved == SKIN) and (guarded == HAT).sum() > 500
    page.page.click("#protect-none")
    page.page.keyboard.press("e")
    page.after(lambda: page.page.mouse.click(*page.at(32, 32)))
    assert page.ids[side // 2, side // 2] == BACKGROUND
    page.page.keyboard.press("i")
    page.page.mouse.click(*page.at(60, 60))
    assert page.page.is_checked(f"#class-{HAIR}")
    page.page.keyboard.press("+")
    page.page.keyboard.press("0")


def test_photos_and_label_maps_are_opened_and_a_second_photo_lends_its_hair(page, model, tmp_path):
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (80, 80, 3), np.uint8)).save(tmp_path / "photo.jpg")
    page.page.click("#open")
    page.page.set_input_files("#open-photo", tmp_path / "photo.jpg")
    page.after(lambda: page.page.click("#open-files"))
    ids = page.ids
    assert set(np.unique(ids)) == {SKIN, HAIR} and np.all(ids[:, :128] == SKIN)
    assert page.page.inner_text("#style-from") == "as in the photo"
    page.page.click("#second-open")
    page.page.locator("#open-gallery button[data-photo]").nth(1).click()
    page.page.wait_for_selector("#second-parts:not([hidden])")
    page.after(lambda: page.page.click("#take-hair"))
    root = model.opt.dataroot
    lent = model.predictor.encode(f"{root}/test_img/p01.png", f"{root}/test_label/p01.png")
    project = json.loads(page.saved("project"))
    assert np.allclose(project["styles"]["hair"]["vector"], lent["hair"]) and project["styles"]["hair"]["from"] == "of p01"
    assert project["styles"]["skin"]["from"] == "as in the photo"
    page.after(lambda: page.page.click("#style-photo"))
    page.after(lambda: page.page.locator(".style").first.click())
    assert page.page.inner_text("#style-from") == "style 0"
    page.page.click("#style-copy")
    page.choose("skin")
    page.after(lambda: page.page.click("#style-paste"))
    assert "copied from hair" in page.page.inner_text("#style-from")
    page.page.click("#side details summary")
    before = page.picture
    page.after(lambda: page.page.locator("#style-sliders input").first.press("End"))
    page.page.wait_for_function("() => document.getElementById('time').textContent.startsWith('drawn')")
    assert page.page.inner_text("#style-from") == "by its sliders" and not np.array_equal(page.picture, before)
    assert page.page.locator("#unsaved").is_visible()


def test_a_project_file_opens_again_and_a_zip_has_everything(page, tmp_path):
    page.choose("hat", "brush", 9)
    page.after(lambda: page.drag((20, 12), (44, 40)))
    ids, picture, project = page.ids, page.picture, page.saved("project")
    with zipfile.ZipFile(io.BytesIO(page.saved("zip"))) as archive:
        assert archive.testzip() is None and sorted(archive.namelist()) == ["map.png", "picture.png", "project.json",
                                                                           "side_by_side.png"]
        assert np.array_equal(np.asarray(Image.open(archive.open("map.png"))), ids)
        assert Image.open(archive.open("side_by_side.png")).size == (2 * SIDE, SIDE)
    (tmp_path / "project.json").write_bytes(project)
    page.fresh()
    page.page.wait_for_function("() => document.querySelectorAll('#strip button').length == 1")
    page.page.click("#open")
    page.after(lambda: page.page.set_input_files("#open-project", tmp_path / "project.json"))
    assert np.array_equal(page.ids, ids) and np.array_equal(page.picture, picture)
    (tmp_path / "other.json").write_text("{}")
    page.page.click("#open")
    page.page.set_input_files("#open-project", tmp_path / "other.json")
    page.page.get_by_text("This is no project file").wait_for()


def test_work_survives_a_reload_and_is_not_replaced_unasked(page):
    page.choose("hat", "brush", 9)
    page.after(lambda: page.drag((20, 12), (44, 40)))
    ids, picture = page.ids, page.picture
    page.page.wait_for_function("() => Object.values(localStorage).some((text) => JSON.parse(text).dirty)")
    page.page.close()
    page.open()
    assert np.array_equal(page.ids, ids) and np.array_equal(page.picture, picture)
    page.page.click("#open")
    page.page.locator("#open-gallery button").first.click()
    page.page.locator("#lose-dialog").get_by_text("Keep it").click()
    assert np.array_equal(page.ids, ids)


def test_it_works_with_the_keyboard_alone(page):
    before = page.ids
    press = page.page.keyboard.press
    while page.page.evaluate("document.activeElement.value") != str(HAIR):  # tab to the chosen class of the list
        press("Tab")
    press("ArrowDown")
    assert page.page.is_checked(f"#class-{HAT}")
    press("b")
    for _ in range(20):
        press("[")
    press("g")
    press("Enter")
    for _ in range(6):
        press("ArrowRight")
    page.after(lambda: press("Enter"))
    changed = page.ids != before
    assert set(np.unique(page.ids[SIDE // 2, SIDE // 2:SIDE // 2 + 6])) == {HAT} and changed.sum() <= 8
    page.after(lambda: press("Control+z"))
    assert np.array_equal(page.ids, before)
    shown, drawn = "document.getElementById('picture').toDataURL()", []
    page.after(lambda: press("Control+y"))
    drawn.append(page.page.evaluate(shown))
    page.page.keyboard.down("c")
    drawn.append(page.page.evaluate(shown))
    page.page.keyboard.up("c")
    assert drawn[0] == page.page.evaluate(shown) != drawn[1] and page.page.inner_text("#picture-title") == "Picture"
    press("?")
    assert page.page.locator("#help-dialog").is_visible()
    press("Escape")
    unnamed = page.page.evaluate("""[...document.querySelectorAll('button, input, canvas[tabindex], summary')].filter((one) =>
        !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).map((one) => one.outerHTML)""")
    assert unnamed == []


def test_a_phone_paints_by_touch_and_scrolls_in_one_direction_only(browser, address):
    page = Page(browser, address, has_touch=True, is_mobile=True)
    page.page.set_viewport_size({"width": 390, "height": 844})
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    before = page.ids
    page.page.locator("label[for=class-5]").tap()
    page.page.locator("#map").scroll_into_view_if_needed()
    page.after(lambda: page.page.touchscreen.tap(*page.at(32, 32)))
    after = page.ids
    assert set(np.unique(after[after != before])) == {HAT} and after[SIDE // 2, SIDE // 2] == HAT
    touch = page.context.new_cdp_session(page.page)
    points = [{"x": page.at(20 + 24 * i, 32)[0], "y": page.at(0, 32)[1], "id": i} for i in (0, 1)]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points[:1]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert np.array_equal(page.ids, after)  # two fingers zoom, they paint nothing
    page.context.close()
    assert page.faults == []


@pytest.mark.parametrize("flags", [[], ["--label_feat", "--use_vae"]])
def test_the_page_shows_what_the_model_has(browser, model, tmp_path, flags):
    where = ["--name", "x", "--checkpoints_dir", tmp_path, "--dataroot", model.opt.dataroot, *SIZES, *NETWORK, *flags]
    succeed(call("train", *where, *LOSSES, "--niter", "1", "--niter_decay", "0", "--no_html", "--max_dataset_size", "1"))
    with served(model_of(tmp_path, "x")) as address:
        page = Page(browser, address)
        panels = [page.page.is_visible(which) for which in ("#style-panel", "#second", "#style-anew")]
        assert panels == [bool(flags)] * 3
        page.choose("hat", "brush", 9)
        page.after(lambda: page.drag((20, 12), (44, 12)))
        if flags:
            page.after(lambda: page.page.click("#style-anew"))
            assert page.page.inner_text("#style-from") == "drawn anew, strength 0.5"
            page.after(lambda: page.page.click("#style-random"))
        page.context.close()
    assert page.faults == []


def test_text_stands_out_as_wcag_asks(page):
    for theme in ("light", "dark"):
        page.page.emulate_media(color_scheme=theme)
        colors = page.page.evaluate("""(places) => places.map((which) => {
            const shown = document.querySelector(which);
            let behind = shown;
            while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
            return [which, getComputedStyle(shown).color, getComputedStyle(behind).backgroundColor];
        })""", ["body", "#style-from", "button:enabled", "[aria-pressed=true]", "h1 span", "footer"])
        for which, text, behind in colors:
            assert contrast(text, behind) >= 4.5, (theme, which, text, behind)


def contrast(*colors):
    """WCAG 2's contrast ratio of two CSS colours."""
    light = []
    for color in colors:
        values = np.array([float(part) for part in re.findall(r"[\d.]+", color)[:3]]) / 255
        light.append(np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))
    return (max(light) + 0.05) / (min(light) + 0.05)
