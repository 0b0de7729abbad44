"""Reads still pictures the way people see them: upright, in 8 bits a channel, of one known scale, or refused in a line.

Legend: H, W pixels.
"""

import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as PillowImage

from vseg_nas.errors import DataError

Image = NDArray[np.uint8]
Size = tuple[int, int]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Of pictures, in lower case."""

_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error,
    OverflowError, PillowImage.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises for damaged files, depending on the byte that was hit."""

_UPRIGHT = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}
"""What brings a picture upright, by its EXIF orientation; 1 is upright."""

_LYING = (5, 6, 7, 8)  # orientations whose height is a width
_SUBFILE_TYPE, _COPY_OR_MASK = 254, 5  # of TIFF: the tag, and its bits of copies of reduced resolution and of masks
_PNG_SIGNATURE, _CHECKSUM_BYTES = b"\x89PNG\r\n\x1a\n", 4  # of PNG: its first bytes, and what ends each chunk
_PNG_TEXTS, _LONGEST_KEYWORD = (b"tEXt", b"zTXt", b"iTXt"), 80  # chunks that begin with a keyword and a zero byte
_ORIENTING = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # keywords of texts that hold an orientation
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF

# Pillow warns on stderr of pictures above its limit, which are refused here, and of tags that make no sense.
warnings.filterwarnings("ignore", module=r"PIL\.")


def load_upright(path: Path, data: bytes | None = None, verify: bool = False) -> PillowImage.Image:
    """Decodes a picture in the mode of its file, turned upright as its EXIF orientation says.

    Args:
        path: of the file, also for complaints.
        data: its content; None reads it.
        verify: whether to look at the checksums of PNG files, which decoding ignores.

    Raises:
        DataError: it is missing, damaged, of a kind that cannot be read, or has more pixels than Pillow allows.
    """
    with _complaints(path):
        if verify:
            PillowImage.open(path if data is None else BytesIO(data)).verify()
        return _upright(path, PillowImage.open(path if data is None else BytesIO(data)))


def _upright(path: Path, image: PillowImage.Image) -> PillowImage.Image:
    limit = PillowImage.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise DataError(f"{path}: found {image.width}x{image.height} pixels, expected at most {limit} in all")
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.format = image.format
    return turned


@contextmanager
def _complaints(path: Path) -> Iterator[None]:
    """Makes one `DataError` line of what Pillow says of a file."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: found a damaged image or one of an unknown kind, expected PNG or JPEG") from error
    except PillowImage.DecompressionBombError as error:
        raise DataError(f"{path}: found too many pixels, expected at most {PillowImage.MAX_IMAGE_PIXELS}") from error
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:  # Pillow's own complaints have no number
            raise DataError(f"{path}: found no readable file ({error.strerror}), expected PNG or JPEG") from error
        raise DataError(f"{path}: found a damaged image ({_brief(error)}), expected PNG or JPEG") from error


def page_sizes(path: Path) -> dict[int, Size | None]:
    """Height and width, upright, of each picture of a file by its number, from headers alone.

    Pages of a TIFF file and frames of an animation count. Smaller copies and masks do not, nor the previews and depth
    maps that phones put behind the picture of a JPEG file. None stands for one whose header cannot be read.
    """
    sizes: dict[int, Size | None] = {}
    page = 0
    try:
        with PillowImage.open(path) as image:
            if image.format != "TIFF":
                count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
                return dict.fromkeys(range(count), _header_size(path, image))
            while True:
                image.seek(page)
                if not image.tag_v2.get(_SUBFILE_TYPE, 0) & _COPY_OR_MASK:  # type: ignore[attr-defined]  # of TIFF
                    sizes[page] = image.height, image.width
                page += 1
    except _BROKEN as error:
        return sizes if isinstance(error, EOFError) and sizes else {**sizes, page: None}


def _header_size(path: Path, image: PillowImage.Image) -> Size:
    """Height and width, upright, of a picture that is not loaded."""
    known = image.format != "PNG" or _may_lie(path)  # Pillow decodes a PNG file to look for its orientation
    turned = known and _orientation(image) in _LYING
    return (image.width, image.height) if turned else (image.height, image.width)


def _may_lie(path: Path) -> bool:
    """Whether a PNG file has a chunk, before or behind its picture, in which Pillow finds an orientation."""
    with path.open("rb") as file:
        file.seek(len(_PNG_SIGNATURE))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            start = file.read(min(length, _LONGEST_KEYWORD))
            if kind == b"eXIf" or (kind in _PNG_TEXTS and start.split(b"\0")[0] in _ORIENTING):
                return True
            file.seek(length - len(start) + _CHECKSUM_BYTES, os.SEEK_CUR)
    return False


def read_pages(path: Path, pages: Sequence[int]) -> Iterator[Image | DataError]:
    """Several pictures of one file as (H, W, 3), upright: grey, CMYK and palettes in RGB, without their alpha.

    Of 16 bits the upper 8 are taken, as if the file had been saved in 8: 65535 and 255 are the same white. Of floating
    point numbers 1 is white.

    Args:
        path: of the file.
        pages: their numbers, as `page_sizes` gives them.

    Yields:
        Each picture, or what is wrong with it: as `load_upright`, or the file does not say which value is white.
    """
    try:
        with _complaints(path):
            file = PillowImage.open(path)
    except DataError as error:
        yield from [error] * len(pages)
        return
    with file:
        for page in pages:
            try:
                with _complaints(path):
                    file.seek(page)
                    image = _rgb(path, _upright(path, file))
            except DataError as error:
                yield error
            else:
                yield image


def _rgb(path: Path, image: PillowImage.Image) -> Image:
    if image.mode == "RGB":
        return np.asarray(image)
    if image.mode == "F" or image.mode.startswith("I"):
        grey = _eight_bits(path, image)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # without this step Pillow warns
    try:
        return np.asarray(image.convert("RGB"))
    except ValueError as error:
        raise DataError(f"{path}: found image mode {image.mode}, expected grey, RGB or a palette") from error


def _eight_bits(path: Path, image: PillowImage.Image) -> Image:
    """Grey values (H, W) of a picture of more than 8 bits."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})  # of TIFF
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):  # false for NaN, too
            found = f"{values.min():.5g} to {values.max():.5g}"
            raise DataError(f"{path}: found floating point values {found}, expected 0 to 1, or 8 or 16 bits a channel")
        grey = np.rint(255 * values)
    elif image.mode != "I" or image.format == "PNG":  # older versions of Pillow read PNG files of 16 bits as mode I
        (bits,) = tags.get(_BITS_PER_SAMPLE, (16,))
        grey = values >> (bits - 8)
    else:
        raise DataError(f"{path}: found integers of 32 bits or with a sign, expected 8 or 16 bits a channel")
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    eight: Image = grey.astype(np.uint8)
    return eight


def _orientation(image: PillowImage.Image) -> int:
    """The EXIF orientation of a picture; 1 (upright) without, or where the EXIF data are damaged."""
    if image.format == "TIFF":  # Pillow has turned it
        return 1
    try:
        orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _BROKEN:
        return 1
    return orientation


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:80]
