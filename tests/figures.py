"""The type of the fixture ``figure`` of conftest.py."""

from collections.abc import Callable

Figure = Callable[[str, str], None]
