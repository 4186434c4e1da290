"""Picture files: listing those of a folder, and reading them as maps of ids or as upright colour pictures."""
from __future__ import annotations

import contextlib
import logging
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from data.pairing import IMAGE_EXTENSIONS, composed
from util.errors import UserError

# The decoders that may be used, as Pillow chooses by content: a file named .png could otherwise start any of its forty.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "PPM", "TIFF", "WEBP")
# folders that operating systems create: resource forks of macOS, thumbnails and recycle bins of Synology and Windows
SYSTEM_FOLDERS = (".", "__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN")
MAX_SIDE = 30000
MAX_PIXELS = 1 << 28

_READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError,
                ZeroDivisionError, struct.error, zlib.error)  # what Pillow's decoders raise on broken bytes
_ROTATIONS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
              5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
              8: Image.Transpose.ROTATE_90}
_WITH_ORIENTATION = ("exif", "XML:com.adobe.xmp", "xmp")  # what Pillow looks for an orientation in

# Pillow warns about odd metadata and large pictures; what is too large is refused below with a UserError.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


def is_video(path) -> bool:
    """Whether a path is that of a file that is no picture by its name, and so a video where one may be given."""
    path = Path(path)
    return path.is_file() and path.suffix.lower() not in IMAGE_EXTENSIONS


def list_images(folder) -> dict[str, Path]:
    """The pictures of a folder and its subfolders: {key: path}, in the order of their relative paths.

    The key is the relative path with '/', without extension, in Unicode's NFC; `data.pairing` pairs the keys of two folders.
    Hidden files and folders and SYSTEM_FOLDERS are skipped; symbolic links are followed, each folder once. Raises UserError for
    a missing folder, and for two files with the same key.
    """
    folder = Path(folder)
    found: dict[str, Path] = {}
    for name in image_names(folder):
        key = composed(os.path.splitext(name)[0])
        if key in found:
            raise UserError(f"{folder / name} and {found[key]} are both '{key}'; keep one of them")
        found[key] = folder / name
    return found


def image_names(folder) -> list[str]:
    """The relative paths, with '/', of the pictures that `list_images` lists; files may differ in the extension only."""
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: there is no such folder")
    return sorted(_walk(Path(folder)))


def _walk(folder: Path):
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(SYSTEM_FOLDERS)]
        prefix = os.path.relpath(parent, folder).replace(os.sep, "/") + "/"
        for name in files:
            if not name.startswith(".") and name.lower().endswith(IMAGE_EXTENSIONS):
                yield name if prefix == "./" else prefix + name


@contextlib.contextmanager
def _decoding(source, name):
    """A context for calls of Pillow: its exceptions become a UserError naming the file."""
    try:
        yield
    except Image.DecompressionBombError:
        raise UserError(f"{name}: is larger than any picture this reads; scale it down") from None
    except UnidentifiedImageError:
        raise UserError(f"{name}: {_what_it_is(source)}") from None
    except FileNotFoundError:
        raise UserError(f"{name}: there is no such file, or it is a link that leads nowhere; restore it") from None
    except IsADirectoryError:
        raise UserError(f"{name}: is a folder, not a picture") from None
    except PermissionError:
        raise UserError(f"{name}: may not be read; change its permissions") from None
    except _READ_ERRORS as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(f"{name}: is broken or cut short ({reason}); fetch or save it again") from None


def open_image(source, name=None) -> Image.Image:
    """Open a picture (a path or a binary stream) and read its header, not its pixels.

    Use it in a `with`; call `load(image)` to decode the pixels. Raises UserError naming `name` (default: the path) for what is
    no picture or too large.
    """
    name = source if name is None else name
    with _decoding(source, name):
        image = Image.open(source, formats=FORMATS)
    try:
        _refuse_absurd(image.size, name)
    except UserError:
        image.close()
        raise
    if image.format == "TIFF":
        image.filename = ""  # else Pillow memory-maps an uncompressed file, and then applies its orientation wrongly
    image.shown_name = name
    return image


@contextlib.contextmanager
def _given(source, name):
    """Give (PIL picture, its name in messages) of a path, a binary stream, a PIL picture or an array.

    A PIL picture is not closed, as it is the caller's.
    """
    if isinstance(source, Image.Image):
        name = name or "picture"
        _refuse_absurd(source.size, name)
        yield source, name
    elif _is_file(source):
        with open_image(source, name) as image:
            yield image, image.shown_name
    else:
        yield _of_array(np.asarray(source), name or "array"), name or "array"


def _is_file(source) -> bool:
    return isinstance(source, (str, bytes, os.PathLike)) or hasattr(source, "read")


def _of_array(values: np.ndarray, name) -> Image.Image:
    """A photo's array as a PIL picture. Raises UserError for unsupported shapes and dtypes."""
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    channels = values.shape[2] if values.ndim == 3 else 1
    wanted = values.dtype == np.uint8 and channels in (1, 3, 4) or values.dtype == np.uint16 and channels == 1
    if values.ndim not in (2, 3) or not values.size or not wanted:
        raise UserError(f"{name}: is {values.dtype} of shape {values.shape}; give uint8 of shape (height, width, 3), or a "
                        "PIL picture")
    _refuse_absurd(values.shape[1::-1], name)
    return Image.fromarray(values)


def load(image: Image.Image, name=None) -> None:
    """Decode the pixels of an opened picture. Raises UserError naming the file (or `name`) if they are broken."""
    with _decoding(None, name or image.shown_name):
        image.load()


def _refuse_absurd(size, name) -> None:
    """Check the size in the header before decoding, as a small file may decompress to more than the memory."""
    width, height = size
    if width < 1 or height < 1:
        raise UserError(f"{name}: has no pixels ({width}x{height}); save it again")
    if max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        raise UserError(f"{name}: {width}x{height} is larger than any picture this reads "
                        f"({MAX_SIDE} a side, {MAX_PIXELS >> 20} Mpixel); scale it down")


def _what_it_is(source) -> str:
    """What a file that no decoder accepts is, by its first bytes, and what to do."""
    if hasattr(source, "read"):
        source.seek(0)
        start = source.read(16)
    else:
        with open(source, "rb") as stream:
            start = stream.read(16)
    if not start:
        return "is an empty file; replace or remove it"
    if start.startswith((b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"RIFF")):
        return "is broken or cut short (in its header); fetch or save it again"
    for magic, kind in ((b"GIF8", "GIF"), (b"8BPS", "Photoshop"), (b"\x93NUMPY", "NumPy"), (b"%PDF", "PDF")):
        if start.startswith(magic):
            return f"is a {kind} file, which is not read; save it as PNG"
    if start[4:8] == b"ftyp":
        return "is a HEIC or AVIF file, which is not read; save it as PNG or JPEG"
    if start.lstrip().startswith((b"<", b"version https")):
        return "is a text or web page, not a picture; fetch it again"
    return "is no picture; replace or remove it"


def orientation(image: Image.Image) -> int:
    """The EXIF orientation 1..8 of an opened picture, by its header only.

    TIFF says 1: Pillow turns those itself. Unreadable EXIF says 1, as every viewer does.
    """
    if image.format == "TIFF" or not any(key in image.info for key in _WITH_ORIENTATION):
        return 1  # getexif() of a PNG would decode the whole picture to find a later chunk
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _READ_ERRORS:
        return 1
    return value if value in _ROTATIONS else 1


def upright(image: Image.Image, turn: int) -> Image.Image:
    """The picture transposed according to its EXIF orientation `turn`, in any mode."""
    if turn not in _ROTATIONS:
        return image
    image = image.transpose(_ROTATIONS[turn])
    for key in _WITH_ORIENTATION:  # else readers of the result would apply it again
        image.info.pop(key, None)
    return image


def image_size(source, name=None) -> tuple[int, int]:
    """(width, height) as the picture is seen, from its header; `source` as `read_image` takes it. Raises UserError."""
    with _given(source, name) as (image, _):
        width, height = image.size
        return (height, width) if orientation(image) >= 5 else (width, height)


def same_view(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether pictures of these (width, height) have the same aspect ratio, within a pixel or 1 %."""
    return abs(other[0] * size[1] / other[1] - size[0]) <= max(1.0, 0.01 * max(size))


def refuse_other_view(name, size, partner, partner_size) -> None:
    """Raise UserError if a picture of `size` has another aspect ratio than its partner of `partner_size`."""
    if not same_view(partner_size, size):
        raise UserError(f"{name}: is {size[0]}x{size[1]}, its {partner} {partner_size[0]}x{partner_size[1]}; the two must "
                        "show the same view")


def read_image(source, channels: int = 3, draft_size: tuple[int, int] | None = None, name=None) -> Image.Image:
    """Read a photo upright, in RGB or grey.

    source: a path, a binary stream, a PIL picture, or an array: uint8 (H, W), (H, W, 3) or (H, W, 4), uint16 (H, W).
    name: its name in messages (default: the path).
    channels: 3 gives mode 'RGB'; 1 gives 'L', or for 16-bit greys 'F' with values 0..255 (in steps of 1/257), which
        Pillow resamples without losing the low bits.
    draft_size: (width, height) that suffices; a JPEG file may then be decoded at 1/2, 1/4 or 1/8 size, never below that size.
    Palettes are converted to colours, EXIF orientation is applied, transparency is composited over white. Of 16 bits a colour
    channel the high byte is kept. Raises UserError naming the file.
    """
    with _given(source, name) as (image, name):
        turn = orientation(image)
        if draft_size is not None and image is not source and image.format == "JPEG" and image.mode in ("L", "RGB"):
            width, height = draft_size[::-1] if turn >= 5 else draft_size
            image.draft(None, (max(1, width), max(1, height)))
        load(image, name)
        return upright(_as_channels(image, channels, name), turn)


def _as_channels(image: Image.Image, channels: int, name) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _deep_grey(image, name)
        return grey if channels == 1 else _to_8bit(grey).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    mode = "RGB" if channels == 3 else "L"
    return image if image.mode == mode else image.convert(mode)  # convert would copy it even so


def _deep_grey(image: Image.Image, name) -> Image.Image:
    """A grey of more than 8 bits as mode 'F', 0..255."""
    if image.mode == "F":
        raise UserError(f"{name}: holds floating-point values, whose range nobody states; save it as 8 or 16-bit PNG")
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise UserError(f"{name}: holds values from {values.min()} to {values.max()}; save it as 8 or 16-bit PNG")
    return Image.fromarray(values.astype(np.float32) / np.float32(257))


def _to_8bit(grey: Image.Image) -> Image.Image:
    return Image.fromarray(np.rint(np.asarray(grey)).astype(np.uint8))


def read_label(source, name=None) -> np.ndarray:
    """Read a map of class or instance ids: (H, W), uint8, or int32 where the file has more than 8 bits.

    source: a path, a binary stream, a PIL picture, or an array: integers (H, W), or what a picture's array is.
    name: its name in messages (default: the path).
    The samples as stored, whatever the bit depth; of a palette file the indices; of a colour file whose channels are equal, one
    of them. Raises UserError naming the file for JPEG (lossy compression changes ids at borders), colours, floating point, a
    palette of greys that differ from their indices, and broken files.
    """
    if not isinstance(source, Image.Image) and not _is_file(source):
        return _ids_of_array(np.asarray(source), name or "array")
    with _given(source, name) as (image, name):
        if image.format in ("JPEG", "MPO", "WEBP"):
            raise UserError(f"{name}: is a {image.format.replace('MPO', 'JPEG')} file, whose lossy compression changes "
                            "ids; make the label map again as PNG")
        turn, rawmode = orientation(image), _rawmode(image)
        load(image, name)
        ids = _stored_samples(_one_channel(image, rawmode, name), *rawmode)
        return _turn_array(ids, turn)


def _ids_of_array(values: np.ndarray, name) -> np.ndarray:
    """An array of ids as `read_label` gives them."""
    if values.ndim == 3 and values.dtype == np.uint8:
        return _one_channel(_of_array(values, name), ("", 0), name)
    if values.ndim != 2 or values.dtype.kind not in "iub" or not values.size:
        raise UserError(f"{name}: is {values.dtype} of shape {values.shape}; give whole ids of shape (height, width)")
    _refuse_absurd(values.shape[::-1], name)
    if values.dtype.kind != "b" and (values.min() < -2**31 or values.max() >= 2**31):
        raise UserError(f"{name}: holds ids from {values.min()} to {values.max()}; give whole ids from 0 up")
    return np.array(values, np.uint8 if values.dtype in (bool, np.uint8) else np.int32)


def _rawmode(image: Image.Image) -> tuple[str, int]:
    """How samples are stored in the file, and the maximum value that a PGM declares (else 0).

    Pillow knows this only before loading, so it is kept as an attribute of the picture for a second call.
    """
    if getattr(image, "tile", None):
        args = image.tile[0][3]
        args = args if isinstance(args, tuple) else (args,)
        declared = args[-1] if image.format == "PPM" and isinstance(args[-1], int) else 0
        image.stored_samples = str(args[0]), declared if image.tile[0][0].startswith("ppm") else 0
    return getattr(image, "stored_samples", ("", 0))


def _one_channel(image: Image.Image, rawmode, name) -> np.ndarray:
    """The ids of a loaded picture as an array of two dimensions."""
    if image.mode == "F":
        raise UserError(f"{name}: holds floating-point values; save one channel of whole class ids as PNG")
    if image.mode in ("P", "PA"):
        _refuse_grey_palette(image, name)
    if image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16"):
        values = np.array(image)
        return values.astype(np.uint8 if values.dtype in (bool, np.uint8) else np.int32)
    values = np.asarray(image)
    if image.mode in ("LA", "PA", "La"):
        return values[..., 0].copy()
    grey = image.mode in ("RGB", "RGBA", "RGBX") and "16" not in rawmode[0] and _equal_channels(values)
    if not grey:
        depth = "16-bit " if "16" in rawmode[0] else ""
        raise UserError(f"{name}: is colour-coded ({depth}{image.mode}); save one channel of class ids as PNG "
                        "(0 to label_nc - 1)")
    return values[..., 0].copy()


def _equal_channels(values: np.ndarray) -> bool:
    return np.array_equal(values[..., 0], values[..., 1]) and np.array_equal(values[..., 0], values[..., 2])


def _refuse_grey_palette(image: Image.Image, name) -> None:
    """Raise UserError for a palette of greys in which a grey in use differs from its index.

    Some programs convert a grey map to a palette, so that the ids are the greys; others store ids as indices.
    """
    palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    if not _equal_channels(palette):
        return
    used = np.unique(np.asarray(image).reshape(image.height, image.width, -1)[..., 0])
    used = used[used < len(palette)]
    other = used[palette[used, 0] != used]
    if other.size:
        index, grey = int(other[0]), int(palette[other[0], 0])
        raise UserError(f"{name}: has a palette of greys, of which {len(other)} of {len(used)} in use differ from their "
                        f"indices: where its pixels are {index} it shows grey {grey}, so the id may be {index} or {grey}; save "
                        "the ids as PNG of one channel without a palette")


def _stored_samples(ids: np.ndarray, rawmode: str, declared: int) -> np.ndarray:
    """Undo Pillow's scaling of samples of fewer than 8 bits (or of a PGM's declared maximum) to the full range."""
    if rawmode in ("L;2", "L;4"):
        return ids // (85 if rawmode == "L;2" else 17)
    if declared not in (0, 255, 65535):
        top = 255 if ids.dtype == np.uint8 else 65535
        return np.rint(ids * (declared / top)).astype(ids.dtype)
    return ids


def _turn_array(ids: np.ndarray, turn: int) -> np.ndarray:
    """`upright` for an array."""
    if turn >= 5:
        ids = ids.T
    rows = slice(None, None, -1 if turn in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if turn in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(ids[rows, columns])
