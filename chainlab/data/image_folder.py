"""The user's own images: a folder with one folder a class."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from chainlab.data.batches import Origin
from chainlab.data.dataset import Dataset, split, unit_range
from chainlab.data.locate import existing_folder
from chainlab.errors import DataError, MissingDependencyError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}


def from_images(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    grey: bool = False,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """A folder of images with one folder a class.

    Args:
        path: The folder.
        size: Height and width that images are resized to; without it all must have one size.
        grey: One channel instead of three.
        validation: Share of the examples in `validation`.
        test: Share of the examples in `test`.
        seed: Picks the split.

    Returns:
        The data set; `x` is uint8 (examples, height, width, channels) and reaches the model in [0, 1].

    Raises:
        MissingDataError: There is no such folder.
        DataError: There are no classes or images, or an image is damaged or of another size.
        MissingDependencyError: Pillow is not installed.
    """
    folder = existing_folder(path, "one folder a class with image files in it")
    classes = tuple(sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")))
    files = [sorted(f for f in (folder / name).rglob("*") if f.suffix.lower() in _SUFFIXES) for name in classes]
    if not classes:
        raise DataError(f"{folder}: wanted one folder a class with image files in it, got no folder")
    for name, found in zip(classes, files, strict=True):
        if not found:
            raise DataError(f"{folder / name}: wanted image files ({', '.join(sorted(_SUFFIXES))}), got none")
    flat = [file for found in files for file in found]
    digest = hashlib.sha256()
    images: list[UInt8[np.ndarray, "height width channels"]] = []
    for file in flat:
        digest.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
        image = _image(file, size, grey)
        if images and image.shape != images[0].shape:
            raise DataError(
                f"{file}: wanted height and width {images[0].shape[:2]} as in {flat[0].name}, got {image.shape[:2]}:"
                " give a size to resize to"
            )
        images.append(image)
    y = np.repeat(np.arange(len(classes), dtype=np.int32), [len(found) for found in files])
    fractions = {"validation": validation, "test": test}
    train, splits = split(np.stack(images), y, fractions, seed=seed, classes=classes, where=str(folder))
    return Dataset(train, splits, Origin(folder.name, str(folder), digest.hexdigest()), classes, unit_range)


def _image(file: Path, size: tuple[int, int] | None, grey: bool) -> UInt8[np.ndarray, "height width channels"]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingDependencyError("pillow", "images", "reading image files") from None
    try:
        with Image.open(file) as image:
            picture = image.convert("L" if grey else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: not a readable image: {error}") from None
    if size:
        picture = picture.resize((size[1], size[0]))
    pixels = np.asarray(picture)
    return pixels[..., None] if grey else pixels
