"""Pictures are listed and read as they are meant: ids as stored, colours the right way up, pairs by name."""
import io

import numpy as np
import pytest
from PIL import Image

from data.image_files import image_size, list_images, read_image, read_label, same_view
from util.errors import UserError

IDS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def saved(path, image, **options):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(path, **options)
    return path


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


# listing

def test_order_is_that_of_the_relative_paths(tmp_path):
    touch(tmp_path, "b/1.png", "a10.png", "a9.png", "B.png", "a9-1.png")
    assert list(list_images(tmp_path)) == ["B", "a10", "a9-1", "a9", "b/1"]


def test_hidden_and_foreign_files_are_left_out_and_a_circle_of_links_ends(tmp_path):
    touch(tmp_path, "a.png", ".b.png", ".cache/c.png", "__MACOSX/a.png", "notes.txt", "sub/d.webp")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    assert list(list_images(tmp_path)) == ["a", "sub/d"]


def test_one_name_with_two_extensions_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.png and .*a\.jpg are both 'a'"):
        list_images(touch(tmp_path, "a.jpg", "a.png"))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        list_images(tmp_path / "nowhere")


# label maps

@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_png_of_any_depth_gives_its_samples(tmp_path, bits):
    ids = IDS & np.uint8((1 << bits) - 1)
    image = Image.fromarray(ids.astype(bool)) if bits == 1 else Image.fromarray(ids)
    options = {"bits": bits} if bits in (2, 4) else {}
    assert np.array_equal(read_label(saved(tmp_path / "a.png", image, **options)), ids)


def test_palette_gives_indices_not_colours(tmp_path):
    image = Image.new("P", (4, 3))
    image.putdata(IDS.ravel().tolist())
    image.putpalette([255, 128, 0, 1, 2, 3] * 128)
    got = read_label(saved(tmp_path / "a.png", image))
    assert got.dtype == np.uint8 and np.array_equal(got, IDS)


def paletted(path, indices, colours, **options):
    image = Image.fromarray(np.asarray(indices, np.uint8))
    image.putpalette(np.asarray(colours, np.uint8).ravel().tolist())
    return saved(path, image, **options)


GREYS = np.repeat(np.arange(256)[:, None], 3, 1)
PALETTES = {  # name: (indices, colours, a word of the refusal or None)
    "a ramp": (IDS, GREYS, None),
    "a ramp as far as it is used": (IDS, [*GREYS[:12], *GREYS[:9]], None),
    "greys of other numbers": (IDS, GREYS[::-1], "where its pixels are 0 it shows grey 255, so the id may be 0 or 255"),
    "one grey of another number": (IDS, [*GREYS[:11], *GREYS[200:]], "1 of 12 in use"),
    "black and white": (IDS > 5, [[0, 0, 0], [255, 255, 255]], "may be 1 or 255"),
    "a single grey": (IDS * 0, GREYS[13:14], "may be 0 or 13"),
    "a single black": (IDS * 0, GREYS[:1], None),
    "a single colour": (IDS * 0, [[9, 0, 0]], None),
    "the greys of a palette of colours": (IDS % 2, [[70, 70, 70], [153, 153, 153], [190, 153, 153]], None),
    "greys that no pixel has": (IDS % 2, [[0, 0, 0], [1, 1, 1], [40, 40, 40]], None),
}


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("name", PALETTES)
def test_a_palette_of_greys_is_read_where_greys_and_indices_agree(tmp_path, name, transparent):
    indices, colours, said = PALETTES[name]
    path = paletted(tmp_path / "a.png", indices, colours, **({"transparency": 0} if transparent else {}))
    for source in (path, Image.open(path), Image.open(path).convert("PA") if transparent else Image.open(path)):
        if said is None:
            assert np.array_equal(read_label(source), indices)
            continue
        with pytest.raises(UserError, match=said):
            read_label(source)


def test_grey_ids_that_a_tool_keeps_as_a_palette_are_refused(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(IDS * 3).quantize(12))
    with pytest.raises(UserError, match="a.png: has a palette of greys.*PNG of one channel"):
        read_label(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_ids_keep_every_bit(tmp_path, name):
    ids = (np.arange(12).reshape(3, 4) * 5461).astype(np.uint16)
    got = read_label(saved(tmp_path / name, ids))
    assert got.dtype == np.int32 and np.array_equal(got, ids)


@pytest.mark.parametrize("top", [1, 3, 18, 200, 255, 300, 1000, 65535])
def test_pgm_is_not_stretched_to_its_declared_maximum(tmp_path, top):
    ids = np.arange(12).reshape(3, 4) * max(1, top // 12) % (top + 1)
    raw = ids.astype(">u2" if top > 255 else np.uint8).tobytes()
    (tmp_path / "a.pgm").write_bytes(b"P5 4 3 %d\n" % top + raw)
    assert np.array_equal(read_label(tmp_path / "a.pgm"), ids)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_equal_channels_are_one_channel(tmp_path, mode):
    assert np.array_equal(read_label(saved(tmp_path / "a.png", Image.fromarray(IDS).convert(mode))), IDS)


@pytest.mark.parametrize("image", [Image.fromarray(IDS), Image.fromarray(IDS.astype(np.int32)), Image.fromarray(IDS > 5),
                                   Image.fromarray(IDS).convert("RGB"), Image.fromarray(IDS.astype(np.uint16))],
                         ids=lambda image: image.mode)
def test_pictures_and_arrays_hold_the_ids_that_their_file_holds(tmp_path, image):
    wanted = read_label(saved(tmp_path / "a.tif", image))
    for source in (image, np.asarray(image), Image.open(tmp_path / "a.tif")):
        got = read_label(source)
        assert np.array_equal(got, wanted) and got.dtype in (np.uint8, np.int32)
    assert np.array_equal(read_label(IDS.astype(np.int64).tolist()), IDS)


@pytest.mark.parametrize("bits", [2, 4])
def test_an_opened_picture_is_read_alike_each_time(tmp_path, bits):
    ids = IDS & np.uint8((1 << bits) - 1)
    with Image.open(saved(tmp_path / "a.png", ids, bits=bits)) as image:
        assert all(np.array_equal(read_label(image), ids) for _ in range(2))
        assert image.getpixel((0, 0)) == 0, "it is still open"


@pytest.mark.parametrize("array, said", [(IDS.astype(float), "label: is float64"), (IDS[0], "label: is uint8 of shape"),
                                         (np.zeros((0, 4), int), "label: is int"),
                                         (IDS.astype(np.int64) << 40, "label: holds ids"),
                                         (np.stack([IDS, IDS, IDS // 2], 2), "label: is colour-coded")])
def test_arrays_that_hold_no_ids_are_refused(array, said):
    with pytest.raises(UserError, match=said):
        read_label(array, "label")


# photos

@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_exif_orientation_turns_photo_label_and_size_alike(tmp_path, turn, name):
    values = np.zeros((16, 24), np.uint8)
    values[:8, :8] = 200
    exif = Image.Exif()
    exif[274] = turn
    path = saved(tmp_path / name, values, exif=exif, **({"quality": 100} if name == "a.jpg" else {}))
    # the corner that the first pixel goes to, by EXIF's definition: (row end?, column end?)
    bottom, right = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[turn]
    photo = np.asarray(read_image(path, 1)).astype(int)
    assert photo[-1 if bottom else 0, -1 if right else 0] > 150
    assert (photo > 150).sum() == 64
    assert image_size(path) == ((16, 24) if turn >= 5 else (24, 16)) == photo.shape[::-1]
    if name != "a.jpg":
        assert np.array_equal(read_label(path), photo)


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    got = np.asarray(read_image(saved(tmp_path / "a.png", pixels)))
    assert got.tolist() == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]


def test_palette_becomes_colours(tmp_path):
    image = Image.new("P", (2, 1))
    image.putdata([0, 1])
    image.putpalette([255, 0, 0, 0, 0, 255])
    assert np.asarray(read_image(saved(tmp_path / "a.png", image))).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_16_bit_grey_keeps_its_low_bits_in_one_channel_and_its_brightness_in_three(tmp_path):
    values = (np.arange(12).reshape(3, 4) * 5461).astype(np.uint16)
    path = saved(tmp_path / "a.png", values)
    one = read_image(path, 1)
    assert one.mode == "F" and np.abs(np.asarray(one) * 257 - values).max() < 0.01
    three = np.asarray(read_image(path, 3))
    assert three.shape == (3, 4, 3) and np.abs(three[..., 0] - values / 257).max() <= 0.5


def photo_files(folder):
    """A photo in each of the ways that people have them."""
    photo = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    for turn in (3, 6):
        exif = Image.Exif()
        exif[274] = turn
        yield saved(folder / f"turned{turn}.png", photo, exif=exif)
        yield saved(folder / f"turned{turn}.jpg", photo, exif=exif)
    yield saved(folder / "alpha.png", np.dstack([photo, photo[..., :1]]))
    yield saved(folder / "grey and alpha.png", Image.fromarray(photo[..., :2].copy(), "LA"))
    yield saved(folder / "deep.png", photo[..., 0].astype(np.uint16) * 257)
    yield saved(folder / "palette.png", Image.fromarray(photo).quantize(9), transparency=0)
    yield saved(folder / "print.jpg", Image.fromarray(photo).convert("CMYK"))


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_seen_as_their_files_are(tmp_path, channels):
    for path in photo_files(tmp_path):
        wanted = np.asarray(read_image(path, channels))
        loaded = Image.open(path)
        loaded.load()
        again = [] if path.stem == "deep" else [read_image(path)]  # whose low bits three channels cannot keep
        for source in (str(path), Image.open(path), loaded, loaded.copy(), *again):
            got = np.asarray(read_image(source, channels))
            assert np.array_equal(got, wanted), path
            assert image_size(source) == wanted.shape[1::-1]
        assert loaded.getpixel((0, 0)) is not None, "it is still open"


def test_arrays_are_seen_as_the_files_they_would_make(tmp_path):
    random = np.random.default_rng(0)
    for shape, dtype in (((5, 4, 3), np.uint8), ((5, 4, 4), np.uint8), ((5, 4), np.uint8), ((5, 4), np.uint16)):
        array = random.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
        wanted = np.asarray(read_image(saved(tmp_path / "a.png", array)))
        assert np.array_equal(np.asarray(read_image(array)), wanted) and image_size(array) == (4, 5)
    for array in (np.zeros((5, 4, 3)), np.zeros((5, 4, 2), np.uint8), np.zeros((5, 4, 3), np.uint16), np.zeros(5, np.uint8)):
        with pytest.raises(UserError, match="photo: is .*give uint8"):
            read_image(array, name="photo")


@pytest.mark.parametrize("size, other, same", [((512, 512), (1024, 1024), True), ((100, 60), (50, 30), True),
                                               ((101, 60), (50, 30), True), ((64, 64), (20, 64), False),
                                               ((48, 32), (32, 48), False), ((178, 218), (356, 440), True)])
def test_one_view_has_one_shape_at_any_scale(size, other, same):
    assert same_view(size, other) == same


def test_draft_is_never_smaller_than_asked_for(tmp_path):
    path = saved(tmp_path / "a.jpg", np.zeros((160, 320, 3), np.uint8))
    assert read_image(path, draft_size=(80, 40)).size == (80, 40)
    assert read_image(path, draft_size=(81, 40)).size == (160, 80)
    assert read_image(path, draft_size=(1000, 40)).size == (320, 160)


def test_a_stream_is_read_under_a_name_of_its_own(tmp_path):
    with pytest.raises(UserError, match="faces.zip:a.jpg: is no picture"):
        read_image(io.BytesIO(b"nothing"), name="faces.zip:a.jpg")
