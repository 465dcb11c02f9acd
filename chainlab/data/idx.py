"""IDX files (the MNIST family), compressed or not."""

import gzip
import hashlib
import math
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from chainlab.data.batches import Origin
from chainlab.data.dataset import Dataset, check_examples, check_finite, check_labels, split, unit_range
from chainlab.data.locate import locate
from chainlab.errors import DataError, UsageError

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_CHUNK = 1 << 20

_DIGITS = tuple("0123456789")
_FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
_FAMILY = {  # classes, licence, home
    "mnist": (_DIGITS, "CC BY-SA 3.0", "http://yann.lecun.com/exdb/mnist"),
    "fashion-mnist": (_FASHION, "MIT", "https://github.com/zalandoresearch/fashion-mnist"),
    "kmnist": (_KUZUSHIJI, "CC BY-SA 4.0", "https://github.com/rois-codh/kmnist"),
}
MNIST_NAMES = tuple(_FAMILY)
_DEBIAN = {"fashion-mnist": "dataset-fashion-mnist"}
_SYSTEM = {"fashion-mnist": ("/usr/share/datasets/fashion-mnist",)}

# Of the uncompressed files, so that a recompressed copy is the same data.
_SHA256 = {
    "fashion-mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    )
}


def read_idx(path: str | Path) -> Shaped[np.ndarray, "..."]:
    """Read one IDX file.

    Args:
        path: The file; decompressed when it starts as gzip does.

    Returns:
        Its array, in the machine's byte order.

    Raises:
        DataError: The file is empty, truncated, longer than its header says, damaged, of an unknown type, or
            holds a number that is not finite; says where and what was wanted.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 7]))  # bytes, one axis of two
        >>> read_idx(file).tolist()
        [5, 7]

    References:
        LeCun et al., The MNIST database of handwritten digits, section "File formats".
    """
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[Shaped[np.ndarray, "..."], str]:
    """The array, and the sha256 of the uncompressed file."""
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if compressed else raw
            header, dtype, shape = _header(path, stream)
            wanted = math.prod(shape) * dtype.itemsize
            body = _take(stream, wanted + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip stream is damaged or cut short ({error}): get the file anew") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(body) != wanted:
        got = f"{len(body)} (truncated)" if len(body) < wanted else "more"
        raise DataError(
            f"{path}: offset {len(header)}: wanted {wanted} bytes of data for {dtype.name} {shape}, got {got}"
        )
    array = np.frombuffer(body, dtype).reshape(shape)
    array = array.astype(dtype.newbyteorder("="), copy=False)
    check_finite(array, str(path))
    return array, hashlib.sha256(header + body).hexdigest()


def _header(path: Path, stream: BufferedIOBase) -> tuple[bytes, np.dtype, tuple[int, ...]]:
    magic = _take(stream, 4)
    if len(magic) < 4:
        raise DataError(f"{path}: offset 0: wanted the 4 bytes that start an IDX file, got {len(magic)}")
    if magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] == 0:
        types = ", ".join(f"{code:02x}" for code in _DTYPES)
        raise DataError(
            f"{path}: offset 0: wanted an IDX file (00 00, a type of {types}, a number of axes), got {magic.hex(' ')}"
        )
    sizes = _take(stream, 4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: offset 4: wanted {magic[3]} sizes in {4 * magic[3]} bytes, got {len(sizes)} bytes")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    if 0 in shape:
        raise DataError(f"{path}: offset 4: wanted at least one element, got an empty array of shape {shape}")
    return magic + sizes, np.dtype(_DTYPES[magic[2]]), shape


def _take(stream: BufferedIOBase, size: int) -> bytes:
    """At most `size` bytes, in pieces: a damaged header may ask for more than there is memory."""
    pieces: list[bytes] = []
    while size > 0 and (piece := stream.read(min(size, _CHUNK))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def find_mnist(name: str, *, path: str | Path | None = None) -> list[Path]:
    """The four files of a data set of the MNIST family, without reading them.

    Args:
        name: `mnist`, `fashion-mnist` or `kmnist`.
        path: The only folder to look in; see `mnist`.

    Returns:
        Training images and labels, test images and labels.

    Raises:
        UsageError: The name is unknown.
        MissingDataError: The files are not on this machine.
    """
    if name not in _FAMILY:
        raise UsageError(f"unknown data set {name!r} of the MNIST family: wanted one of {', '.join(_FAMILY)}")
    how = f"put the four IDX files ({_FAMILY[name][2]}) into a folder that CHAINLAB_DATA names"
    if name in _DEBIAN:
        how = f"`apt-get install {_DEBIAN[name]}`, or {how}"
    return locate(name, _FILES, path=path, system=_SYSTEM.get(name, ()), how=how)


def mnist(
    name: str = "fashion-mnist",
    *,
    path: str | Path | None = None,
    validation: float = 1 / 12,
    seed: int = 0,
    checksum: bool = True,
) -> Dataset:
    """A data set of the MNIST family: 28x28 grey images of ten classes.

    Args:
        name: `mnist`, `fashion-mnist` or `kmnist`.
        path: The folder with the four IDX files; by default `$CHAINLAB_DATA` and the place where Debian's
            `dataset-fashion-mnist` installs them.
        validation: Share of the training images that are held out, stratified by class.
        seed: Picks the validation images.
        checksum: Whether files of a data set whose checksums are known must match them.

    Returns:
        The data set; `x` is uint8 (examples, 28, 28, 1) and reaches the model as float32 in [0, 1].

    Raises:
        UsageError: The name is unknown.
        MissingDataError: The files are not on this machine.
        DataError: A file is damaged, of the wrong type or size, or not the published one.

    Example:
        >>> mnist("fashion-mnist").classes[:2]  # doctest: +SKIP
        ('T-shirt/top', 'Trouser')

    References:
        Xiao et al., Fashion-MNIST, arXiv:1708.07747. Clanuwat et al., Deep Learning for Classical Japanese
        Literature, arXiv:1812.01718.
    """
    files = find_mnist(name, path=path)
    classes, licence, _ = _FAMILY[name]
    arrays: list[Shaped[np.ndarray, "..."]] = []
    digests: list[str] = []
    for file, published in zip(files, _SHA256.get(name, (None,) * 4), strict=True):
        array, digest = _read(file)
        if checksum and published and digest != published:
            raise DataError(
                f"{file}: not the published file: wanted sha256 {published} (uncompressed), got {digest}."
                " Get it anew, or say `checksum: false` if it is meant to differ"
            )
        arrays.append(array)
        digests.append(digest)
    x, y = _images_and_labels(files[0], files[1], arrays[0], arrays[1], len(classes))
    test_x, test_y = _images_and_labels(files[2], files[3], arrays[2], arrays[3], len(classes))
    train, splits = split(x, y, {"validation": validation}, seed=seed, classes=classes, where=str(files[0].parent))
    splits["test"] = {"x": test_x, "y": test_y}
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    return Dataset(train, splits, Origin(name, str(files[0].parent), digest, licence), classes, unit_range)


def _images_and_labels(
    image_file: Path, label_file: Path, x: Shaped[np.ndarray, "..."], y: Shaped[np.ndarray, "..."], classes: int
) -> tuple[Shaped[np.ndarray, "..."], Shaped[np.ndarray, "..."]]:
    if x.dtype != np.uint8 or x.ndim != 3 or x.shape[1:] != (28, 28):
        raise DataError(f"{image_file}: wanted uint8 images of shape (examples, 28, 28), got {x.dtype} {x.shape}")
    if y.dtype != np.uint8 or y.ndim != 1:
        raise DataError(f"{label_file}: wanted uint8 labels of shape (examples,), got {y.dtype} {y.shape}")
    check_examples(x, y, f"{image_file} and {label_file.name}")
    check_labels(y, classes, str(label_file))
    return x[..., None], y.astype(np.int32)
