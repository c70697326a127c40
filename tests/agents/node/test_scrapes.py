"""The small server of `/metrics`: it answers what scrapes ask, and nobody can hold it up."""

import socket
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from agents.node.metric import ThisProcess
from agents.node.scrapes import serve_pages


@contextmanager
def served(pages, port, address="127.0.0.1"):
    end = serve_pages(pages, address, port)
    try:
        yield
    finally:
        end()


def asked(port, request, address="127.0.0.1"):
    """Return the head and the body of an answer; the server ends the connection after it."""
    with socket.create_connection((address, port), timeout=10) as line:
        line.sendall(request)
        found = b""
        while piece := line.recv(4096):
            found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    return head.decode(), body.decode()


def echo(query):
    if query == "fault":
        raise ValueError("a secret of ours")
    return 200, f"asked for {query or 'all'}, ü\n"


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        pytest.param(b"GET /metrics HTTP/1.1\r\n\r\n", 200, "asked for all, ü\n", id="a scrape"),
        pytest.param(b"GET /?a=b HTTP/1.0\r\n\r\n", 200, "asked for a=b, ü\n", id="with a query"),
        pytest.param(b"HEAD / HTTP/1.1\r\n\r\n", 200, "", id="only the head"),
        pytest.param(
            b"POST / HTTP/1.1\r\n\r\n", 405, "only GET is answered here\n", id="to change something"
        ),
        pytest.param(b"\x16\x03\x01\r\n\r\n", 400, "this is no request of HTTP\n", id="TLS"),
        pytest.param(b"GET /?fault HTTP/1.1\r\n\r\n", 500, "ValueError\n", id="a fault of ours"),
    ],
)
def test_a_request_is_answered_by_what_it_is(unused_port, request_, status, body):
    with served(echo, unused_port):
        head, found = asked(unused_port, request_)
        assert (int(head.split()[1]), found) == (status, body)
        size = next(line for line in head.splitlines() if line.startswith("Content-Length: "))
        if not request_.startswith(b"HEAD"):
            assert int(size.split()[1]) == len(body.encode())


def test_a_request_in_pieces_and_others_that_say_nothing_hold_nobody_up(unused_port):
    with served(echo, unused_port):
        silent = [socket.create_connection(("127.0.0.1", unused_port)) for _ in range(20)]
        with socket.create_connection(("127.0.0.1", unused_port), timeout=10) as line:
            for piece in (b"GE", b"T / HT", b"TP/1.1\r\nHost: x\r\n", b"\r\n"):
                line.sendall(piece)
            assert line.recv(100).startswith(b"HTTP/1.0 200 OK")
        for each in silent:
            each.close()


def test_it_ends_at_once_and_its_port_is_free_again(unused_port):
    for _ in range(3):
        with served(echo, unused_port):
            assert asked(unused_port, b"GET / HTTP/1.1\r\n\r\n")[1]


def test_it_listens_where_addresses_have_colons(unused_port):
    try:
        with served(echo, unused_port, "::1"):
            assert asked(unused_port, b"GET / HTTP/1.1\r\n\r\n", "::1")[1] == "asked for all, ü\n"
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")


def test_a_process_is_told_under_the_names_and_with_the_values_of_prometheus_own_library():
    theirs = {m.name: m for m in ProcessCollector(registry=CollectorRegistry()).collect()}
    ours = {metric.name: metric for metric in ThisProcess().collect()}
    assert {name: metric.type for name, metric in ours.items()} == {
        name: metric.type for name, metric in theirs.items()
    }
    for name, metric in ours.items():
        (sample,), (their,) = metric.samples, theirs[name].samples
        assert sample.name == their.name
        assert sample.value == pytest.approx(their.value, rel=0.2, abs=1)
