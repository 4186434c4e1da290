"""Reading pickled NumPy dicts (features.npy, features_clustered_*.npy) without executing code in them."""
from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np

from util.errors import UserError
from util.files import atomic_write

# the globals that NumPy itself pickles, under its old and new module names
_ALLOWED = {(module, name) for module, names in {
    "numpy": ("ndarray", "dtype"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"), "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",), "numpy.core.numeric": ("_frombuffer",),
    "_codecs": ("encode",)}.items() for name in names}


class _NumpyUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def save_dict(path, values: dict[int, np.ndarray]) -> None:
    """Write {class: array} as pix2pixHD does: a pickled 0-d object array. The same values give the same bytes."""
    with atomic_write(path) as stream:
        np.save(stream, {int(k): np.ascontiguousarray(v) for k, v in sorted(values.items())}, allow_pickle=True)


def load_dict(path, columns: int | None = None) -> dict[int, np.ndarray]:
    """Read {class: float array (n, columns)}, also from files that Python 2 wrote.

    Raises UserError naming the file if it is missing, contains anything but numbers, or has another number of columns.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        values = _unpickle(raw)
        table = {int(key): _numbers(array) for key, array in values.items()}
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # a broken or malicious pickle may raise anything
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: is not a file of features or clusters ({reason}); make it again with "
                        "encode_features.py") from error
    for key, array in table.items():
        if array.ndim != 2 or (columns is not None and len(array) and array.shape[1] != columns):
            raise UserError(f"{path}: class {key} has an array of shape {array.shape}, not (n, {columns or 'columns'}); "
                            "was it made with another --feat_num? Make it again with encode_features.py")
        if not np.isfinite(array).all():
            raise UserError(f"{path}: class {key} holds numbers that are not finite; make it again with "
                            "encode_features.py")
    return table


def _numbers(array) -> np.ndarray:
    """The array as float64. Lists are refused, as a few bytes of nested references can expand to terabytes."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ValueError(f"a class has a {getattr(array, 'dtype', type(array).__name__)}, not an array of numbers")
    return array.astype(np.float64)


def _unpickle(raw: bytes) -> dict:
    stream = io.BytesIO(raw)
    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(stream)
    if shape != () or dtype != np.dtype(object):
        raise ValueError(f"holds an array of shape {shape} and type {dtype}, not one dict")
    array = _NumpyUnpickler(stream, encoding="latin1").load()
    value = array.item() if isinstance(array, np.ndarray) else array
    if not isinstance(value, dict):
        raise ValueError(f"holds a {type(value).__name__}, not a dict")
    return value
