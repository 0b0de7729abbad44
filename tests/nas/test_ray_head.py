"""Addresses of Ray clusters: how they are written, who answers, and whether that goes on."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext

import pytest

import vseg_nas.search
from tests.builders import TINY
from tests.fixtures import InProcess
from vseg_nas.errors import ConfigError, RunError
from vseg_nas.nas.executors import ray_head
from vseg_nas.nas.executors.ray_head import HeadWatch, check_address, require_head
from vseg_nas.runs.signals import Terminated, stopping


@pytest.mark.parametrize("address", [None, "auto", "127.0.0.1:6379", "head-1.cluster:65535", "[::1]:6379"])
def test_addresses(address: str | None) -> None:
    check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "",
            "head",
            "head:",
            ":6379",
            "head:port",
            "head:80",
            "head:65536",
            "head:-1",
            "head:6379 ",
            "head:\u0666379",
        ),
        *("ray://head:10001", "http://head:8265", "me@head:6379", "::1:6379", "local", "head:6379/"),
        "head:" + "9" * 5000,
    ],
)
def test_what_is_no_address_is_named(address: str) -> None:
    with pytest.raises(ConfigError, match=r"^executor.address: found '.*', expected host:port with a port from 1024"):
        check_address(address)


@contextmanager
def service(answer: bytes | None) -> Iterator[str]:
    """Its address: what it answers to anything; None: it says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            link, _ = server.accept()
            with link:
                link.recv(100)
                if answer is None:
                    time.sleep(2)
                else:
                    link.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "another service"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "another service"),
        (b"", "another service"),
        (None, "no answer within 0.5 s"),
    ],
)
def test_what_is_no_head_is_named(monkeypatch: pytest.MonkeyPatch, answer: bytes | None, found: str) -> None:
    monkeypatch.setattr(ray_head, "_ANSWER_S", 0.5)
    with (
        service(answer) as address,
        pytest.raises(ConfigError, match=rf"^executor.address: found {found} at {address}"),
    ):
        require_head(address)


def test_a_head_answers() -> None:
    with service(bytes((0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100))) as address:
        require_head(address)


def test_nobody_at_the_address_is_one_line_at_once(in_process: InProcess) -> None:
    port = free_port()
    began = time.monotonic()
    found = in_process(vseg_nas.search.main, *TINY, "executor=ray", f"executor.address=127.0.0.1:{port}")
    said = f"executor.address: found nobody (Connection refused) at 127.0.0.1:{port}, expected the head of a running"
    assert found == (2, "", f"error: {said} Ray cluster\n")
    assert time.monotonic() - began < 20


def test_a_signal_does_not_wait_for_an_answer() -> None:
    began = time.monotonic()
    with service(None) as address, stopping():
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Terminated):
            require_head(address)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("error", "lost"),
    [(ConnectionRefusedError(111, "Connection refused"), True), (TimeoutError("timed out"), False), (None, False)],
)
def test_a_head_that_refuses_for_long_is_lost(
    monkeypatch: pytest.MonkeyPatch, error: OSError | None, lost: bool
) -> None:
    """One that is silent, as a network can be for a while, is waited for longer."""
    monkeypatch.setattr(ray_head, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(ray_head, "_REFUSED_S", 0.2)
    looks: list[str] = []

    def connect(address: str) -> socket.socket:
        looks.append(address)
        if error is not None and len(looks) > 2:
            raise error
        return socket.socket()

    with closing(HeadWatch("head:6379", connect)) as watch:
        watch.check()
        time.sleep(1)
        message = r"^executor=ray: the head of the cluster at head:6379 has gone \(Connection refused\); with a "
        with pytest.raises(RunError, match=message) if lost else nullcontext():
            watch.check()
    assert len(looks) > 2
