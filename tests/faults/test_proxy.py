"""Each toxic does what its name says, and a healed link is a link again."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bridge.bench.faults.common import wait_for
from bridge.bench.faults.proxy import Proxy, Toxic


@contextmanager
def echo() -> Iterator[int]:
    """Run a server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@contextmanager
def link() -> Iterator[tuple[Proxy, socket.socket]]:
    """Give a proxy in front of the echo, and a connection through it that has just worked."""
    with echo() as port, Proxy(port, 1) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
        assert exchange(client, b"hello") == b"hello"
        yield proxy, client


def exchange(client: socket.socket, data: bytes, patience: float = 5.0) -> bytes:
    client.settimeout(patience)
    client.sendall(data)
    got = b""
    while len(got) < len(data) and (piece := client.recv(65536)):
        got += piece
    return got


def test_late_pieces_arrive_late() -> None:
    """Latency adds its time in both directions and loses nothing."""
    with link() as (proxy, client):
        proxy.spoil(Toxic("latency", seconds=0.1))
        began = time.monotonic()
        assert exchange(client, b"x" * 1000) == b"x" * 1000
        assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("toxic", [Toxic("slow", rate=2000), Toxic("slices"), Toxic("jitter", seconds=0.05)])
def test_a_dripping_link_loses_nothing(toxic: Toxic) -> None:
    """Slow, in single bytes or unsteady: everything arrives, in order."""
    with link() as (proxy, client):
        proxy.spoil(toxic)
        data = bytes(range(256)) * 2
        assert exchange(client, data) == data


def test_a_half_open_link_says_nothing() -> None:
    """Nothing passes and nobody is told; healed, the old connection is reset and a new one works."""
    with link() as (proxy, client):
        proxy.spoil(Toxic("half_open"))
        with pytest.raises(TimeoutError):
            exchange(client, b"anybody there?", 0.2)
        proxy.heal()
        with pytest.raises(ConnectionError):
            exchange(client, b"again")
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as another:
            assert exchange(another, b"yes") == b"yes"


def test_a_link_is_reset() -> None:
    """After so many bytes the connection ends with RST."""
    with link() as (proxy, client):
        proxy.spoil(Toxic("reset", after=100))
        with pytest.raises(ConnectionError):
            exchange(client, b"x" * 200)


def test_a_message_is_cut_in_the_middle() -> None:
    """The connection ends tidily, with a part of the piece."""
    with link() as (proxy, client):
        proxy.spoil(Toxic("cut", after=100))
        assert len(exchange(client, b"x" * 200)) < 200


def test_a_link_refuses() -> None:
    """New connections are refused and old ones reset, until it is healed on the same port."""
    with link() as (proxy, client):
        proxy.spoil(Toxic("refuse"))
        with pytest.raises(ConnectionError):
            exchange(client, b"x")
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", proxy.port), 1)
        proxy.heal()
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as another:
            assert exchange(another, b"yes") == b"yes"


def test_a_proxy_that_ends_ends_what_waits_for_its_target() -> None:
    """A connection that was taken, and whose other end is not there yet, is not left behind."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 5), Proxy(port, 1) as proxy:  # its queue is full
            client = socket.create_connection(("127.0.0.1", proxy.port), 5)
            wait_for(lambda: proxy.connections == 1, 10)
        with client:
            client.settimeout(5)
            assert client.recv(1) == b""
    gc.collect()
