"""Whether Ray is installed, and whether the head of a cluster answers, now and while a search runs.

Nothing here loads torch or Ray: commands ask before they do.
"""

import socket
import threading
from collections.abc import Callable
from importlib.util import find_spec

from vseg_nas.clock import working_s
from vseg_nas.errors import ConfigError, RunError, missing_extra

_ANSWER_S = 3.0  # to look the name up, to connect and to answer; a head nearby takes milliseconds
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""The first bytes of a gRPC client, which the head of a cluster answers; the last of them are its empty settings."""
_SETTINGS_FRAME = 4  # the type of the frame that begins the answer of an HTTP/2 server
_LOOK_EVERY_S = 1.0
_REFUSED_S = 3.0  # a machine that refuses a connection is up, and no head listens there any more
_SILENT_S = 30.0  # a network may be cut for a while; Ray itself gives up after a minute


def require_ray() -> None:
    """Checks that the optional dependency is installed.

    Raises:
        ExtraError: It is not installed.
    """
    if find_spec("ray") is None:
        raise missing_extra("ray", "to search on several devices (executor=ray)", "ray")


def check_address(address: str | None) -> None:
    """Checks how an address is written.

    Args:
        address: Host and port of the head of a cluster; ``auto``, for Ray to find it; or None.

    Raises:
        ConfigError: The address has another form.
    """
    if address is None or address == "auto":
        return
    host, _, port = address.rpartition(":")
    is_host = bool(host) and not set(host) & set("/@ \t\n") and (":" not in host or host[0] + host[-1] == "[]")
    if not is_host or not (port.isascii() and port.isdigit() and 1024 <= int(port[:6]) <= 65535):
        raise ConfigError(
            f"executor.address: found {address[:80]!r}, expected host:port with a port from 1024 to 65535, or auto"
        )


def require_head(address: str | None) -> None:
    """Checks that the head of a cluster answers; Ray itself would wait for minutes and ignore signals meanwhile.

    Args:
        address: An address that `check_address` accepts; without host and port, nothing is checked.

    Raises:
        ConfigError: No head answers in time.
    """
    if address is None or address == "auto":
        return
    found: list[str] = []
    silent = f"no answer within {_ANSWER_S:g} s"

    def ask() -> None:
        try:
            with _connection(address) as link:
                link.sendall(_PREFACE)
                answer = link.recv(9)
                found.append("" if len(answer) > 3 and answer[3] == _SETTINGS_FRAME else "another service")
        except TimeoutError:
            found.append(silent)
        except OSError as error:
            found.append(f"nobody ({error.strerror or error})")

    asking = threading.Thread(target=ask, daemon=True)  # to look a name up can take long, and cannot be interrupted
    asking.start()
    asking.join(_ANSWER_S)
    if (what := found[0] if found else silent) != "":
        raise ConfigError(f"executor.address: found {what} at {address}, expected the head of a running Ray cluster")


def _connection(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S)


class HeadWatch:
    """Notices that the head of a cluster has gone, a minute before Ray would end this process without our message.

    Args:
        address: Host and port of the head.
        connect: Connects to an address or raises an OSError; the connection is closed at once.
    """

    def __init__(self, address: str, connect: Callable[[str], socket.socket] = _connection) -> None:
        self._address = address
        self._connect = connect
        self._is_over = threading.Event()
        self._lost: str | None = None
        threading.Thread(target=self._watch, name="head watch", daemon=True).start()

    def check(self) -> None:
        """Raises an error if the head has gone.

        Raises:
            RunError: The head has gone.
        """
        if self._lost is not None:
            raise RunError(
                f"executor=ray: the head of the cluster at {self._address} has gone ({self._lost}); "
                "with a running one, continue with resume="
            )

    def close(self) -> None:
        """Ends the watch."""
        self._is_over.set()

    def _watch(self) -> None:
        seen = working_s()
        while not self._is_over.wait(_LOOK_EVERY_S):
            try:
                self._connect(self._address).close()
                seen = working_s()
            except OSError as error:
                patience = _REFUSED_S if isinstance(error, ConnectionRefusedError) else _SILENT_S
                if working_s() - seen > patience:
                    self._lost = error.strerror or str(error)
                    return
