"""Reads still pictures as people see them: upright, and scaled to 8 bits per channel. All others are refused.

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
"""(H, W, 3) RGB, or (H, W) grey values or class ids."""
Size = tuple[int, int]
"""Height and width in pixels."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Suffixes of picture files, in lower case."""

_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error,
    OverflowError, PillowImage.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises for damaged files, depending on which byte is damaged."""

_TURNS = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}
"""The operation that turns a picture upright, by its EXIF orientation. Orientation 1 is upright already."""

_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
_SUBFILE_TYPE, _COPY_OR_MASK = 254, 5  # TIFF: the tag, and its bits for copies of reduced resolution and for masks
_PNG_SIGNATURE, _CHECKSUM_BYTES = b"\x89PNG\r\n\x1a\n", 4  # PNG: the first bytes of a file, and the end of each chunk
_PNG_TEXTS, _LONGEST_KEYWORD = (b"tEXt", b"zTXt", b"iTXt"), 80  # PNG chunks that begin with a keyword and a zero byte
_ORIENTATION_KEYWORDS = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # of text chunks that hold an orientation
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF: two tags, and a value of the second

# Pillow warns on stderr about pictures above its limit, which are refused here anyway, and about senseless tags.
warnings.filterwarnings("ignore", module=r"PIL\.")


def load_upright(path: Path, data: bytes | None = None, verify: bool = False) -> PillowImage.Image:
    """Decodes a picture in the mode of its file and turns it upright as its EXIF orientation says.

    Args:
        path: The file to read; also used in error messages.
        data: The content of the file; None reads it from `path`.
        verify: Whether to check the checksums of PNG files, which decoding ignores.

    Raises:
        DataError: The file is missing, damaged or of an unknown kind, or has more pixels than Pillow allows.
    """
    with _pillow_errors(path):
        if verify:
            PillowImage.open(path if data is None else BytesIO(data)).verify()
        return _upright(path, PillowImage.open(path if data is None else BytesIO(data)))


def _upright(path: Path, image: PillowImage.Image) -> PillowImage.Image:
    limit = PillowImage.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise DataError(f"{path}: found {image.width}x{image.height} pixels, expected at most {limit} in all")
    image.load()
    turn = _TURNS.get(_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.format = image.format
    return turned


@contextmanager
def _pillow_errors(path: Path) -> Iterator[None]:
    """Turns Pillow's errors about a file into a `DataError` of one line."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: found a damaged image or one of an unknown kind, expected PNG or JPEG") from error
    except PillowImage.DecompressionBombError as error:
        raise DataError(f"{path}: found too many pixels, expected at most {PillowImage.MAX_IMAGE_PIXELS}") from error
    except _DECODER_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:  # Pillow's own OSErrors have no number
            raise DataError(f"{path}: found no readable file ({error.strerror}), expected PNG or JPEG") from error
        raise DataError(f"{path}: found a damaged image ({_brief(error)}), expected PNG or JPEG") from error


def page_sizes(path: Path) -> dict[int, Size | None]:
    """Reads the sizes of all pictures of a file, from their headers alone.

    Pages of a TIFF file and frames of an animation count as pictures. Smaller copies and masks do not, nor do the
    previews and depth maps that phones append to a JPEG file.

    Args:
        path: The file to read.

    Returns:
        Height and width of each picture when upright, by its number in the file; None where a header is unreadable.
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
                if not image.tag_v2.get(_SUBFILE_TYPE, 0) & _COPY_OR_MASK:  # type: ignore[attr-defined]  # TIFF only
                    sizes[page] = image.height, image.width
                page += 1
    except _DECODER_ERRORS as error:  # an EOFError after the last page is how a TIFF file ends
        return sizes if isinstance(error, EOFError) and sizes else {**sizes, page: None}


def _header_size(path: Path, image: PillowImage.Image) -> Size:
    """Returns height and width of a picture when upright, without decoding it."""
    # To find the orientation of a PNG file, Pillow decodes all of it, so files without one are sorted out first.
    may_be_sideways = image.format != "PNG" or _has_orientation_chunk(path)
    is_sideways = may_be_sideways and _orientation(image) in _SIDEWAYS
    return (image.width, image.height) if is_sideways else (image.height, image.width)


def _has_orientation_chunk(path: Path) -> bool:
    """Returns whether a PNG file has a chunk, before or after the pixels, in which Pillow looks for an orientation."""
    with path.open("rb") as file:
        file.seek(len(_PNG_SIGNATURE))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            start = file.read(min(length, _LONGEST_KEYWORD))
            if kind == b"eXIf" or (kind in _PNG_TEXTS and start.split(b"\0")[0] in _ORIENTATION_KEYWORDS):
                return True
            file.seek(length - len(start) + _CHECKSUM_BYTES, os.SEEK_CUR)
    return False


def read_pages(path: Path, pages: Sequence[int]) -> Iterator[Image | DataError]:
    """Reads several pictures of one file as RGB (H, W, 3), upright and without alpha.

    Grey, CMYK and palette pictures are converted. Of 16 bits the upper 8 are taken, as if the file had been saved with
    8 bits: 65535 and 255 are the same white. Of floating point numbers 1 is white.

    Args:
        path: The file to read.
        pages: The numbers of the pictures, as `page_sizes` returns them.

    Yields:
        Each picture, or the error that kept it from being read: one of `load_upright`, or that the file does not say
        which value is white.
    """
    try:
        with _pillow_errors(path):
            file = PillowImage.open(path)
    except DataError as error:
        yield from [error] * len(pages)
        return
    with file:
        for page in pages:
            try:
                with _pillow_errors(path):
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
        image = image.convert("RGBA")  # Pillow warns about a direct conversion to RGB
    try:
        return np.asarray(image.convert("RGB"))
    except ValueError as error:
        raise DataError(f"{path}: found image mode {image.mode}, expected grey, RGB or a palette") from error


def _eight_bits(path: Path, image: PillowImage.Image) -> Image:
    """Returns the grey values (H, W) of a picture of more than 8 bits, scaled to 0..255."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})  # TIFF only
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):  # written so that NaN is refused too
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
    """Returns the EXIF orientation of a picture; 1 (upright) if it has none or its EXIF data are damaged."""
    if image.format == "TIFF":  # Pillow has turned it already
        return 1
    try:
        orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODER_ERRORS:
        return 1
    return orientation


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:80]
