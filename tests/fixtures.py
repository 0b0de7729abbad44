"""Types of the fixtures of conftest.py."""

from collections.abc import Callable

Figure = Callable[[str, str], None]
Tally = Callable[[str, str, str], None]
InProcess = Callable[..., tuple[int, str, str]]
