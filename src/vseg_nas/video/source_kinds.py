"""The kind of a source: a file if one of that name exists, otherwise the number of a camera, or an address."""

import os
import re
import stat

from vseg_nas.errors import DataError

_ADDRESS = re.compile(r"(https?|rtsps?)://[^/]", re.IGNORECASE)


def is_camera(source: str) -> bool:
    """Returns whether a source is the number of a camera."""
    return source.isdecimal() and not os.path.exists(source)


def is_address(source: str) -> bool:
    """Returns whether a source is read over the network, by http, https, rtsp or rtsps."""
    return _ADDRESS.match(source) is not None and not os.path.exists(source)


def check_video_file(source: str) -> None:
    """Checks that a source is a regular file; a pipe or a device might never end or never begin.

    Raises:
        DataError: There is no such file, or it is not a regular one.
    """
    try:
        mode = os.stat(source).st_mode
    except (OSError, ValueError) as error:  # a null character raises a ValueError
        raise DataError(
            f"source: found no {source}, expected a video, a folder, a pattern, the number of a camera or an address "
            "(http, https, rtsp)"
        ) from error
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"))
        found = next((name for is_kind, name in kinds if is_kind(mode)), "a device")
        raise DataError(f"source: {source}: found {found}, expected a video file")
