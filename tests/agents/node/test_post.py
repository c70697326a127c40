"""The agent's HTTP client: what it keeps, what it makes anew, what it makes of strange answers."""

import socket
import ssl
import sys
import threading
from contextlib import contextmanager
from subprocess import run

import pytest

from agents.node.post import Answer, Unanswered
from agents.node.post import poster as made

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Listening:
    """Answers each request with the next of `answers`; an empty one hangs up instead."""

    def __init__(self, *answers: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.answers, self.tls = list(answers), tls
        self.requests: list[bytes] = []
        self.connections = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while self.answers:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            try:
                wrap = self.tls.wrap_socket if self.tls else None
                with wrap(connection, server_side=True) if wrap else connection as line:
                    while self.answers and (request := whole(line)):
                        self.requests.append(request)
                        answer = self.answers.pop(0)
                        if not answer:
                            break
                        line.sendall(answer)
                        if b"close" in answer or not any(
                            word in answer for word in (b"Content-Length", b"chunked", b" 204 ")
                        ):
                            break
            except OSError:
                continue


def whole(line: socket.socket) -> bytes:
    """Return a request with its body; nothing at the end of the connection."""
    found = b""
    while b"\r\n\r\n" not in found:
        piece = line.recv(4096)
        if not piece:
            return b""
        found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    size = next(int(h[15:]) for h in head.split(b"\r\n") if h.startswith(b"Content-Length:"))
    while len(body) < size:
        body += line.recv(4096)
    return head + b"\r\n\r\n" + body


@contextmanager
def listening(*answers, **more):
    found = Listening(*answers, **more)
    try:
        yield found
    finally:
        found.socket.close()


@pytest.fixture
def poster():
    posts = []

    def make(url):
        posts.append(made(url))
        return posts[-1]

    yield make
    for post in posts:
        post.close()


def test_a_connection_is_kept_and_a_body_comes_as_it_was_sent(poster):
    with listening(OK, OK) as hub:
        post = poster(f"http://127.0.0.1:{hub.port}/v1/nodes/report?x=1")
        body = bytes(range(256)) * 400
        for _ in range(2):
            assert post(body, {"Authorization": "Bearer t"}) == Answer(200, b"hi")
        assert hub.connections == 1
        head, _, sent = hub.requests[1].partition(b"\r\n\r\n")
        assert sent == body
        assert head.startswith(b"POST /v1/nodes/report?x=1 HTTP/1.1\r\n")
        lines = {b"Host: 127.0.0.1:%d" % hub.port, b"Authorization: Bearer t"}
        assert lines <= set(head.split(b"\r\n"))


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n"
            b"Trailer: t\r\n\r\n",
            200,
            b"abcde",
            id="in chunks",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, b"until the end", id="to its end"
        ),
        pytest.param(
            b"HTTP/1.0 503 Busy\r\nContent-Length: 1\r\n\r\nx", 503, b"x", id="of an old one"
        ),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", id="without a body"),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n",
            413,
            b"",
            id="after a word in between",
        ),
    ],
)
def test_an_answer_is_read_however_it_is_sent_and_the_next_one_too(poster, answer, status, body):
    with listening(answer, OK) as hub:
        post = poster(f"http://127.0.0.1:{hub.port}/")
        assert post(b"x", {}) == Answer(status, body)
        assert post(b"x", {}) == Answer(200, b"hi")


def test_a_connection_that_was_closed_meanwhile_is_made_anew_without_a_word(poster):
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    with listening(closing, OK, b"", OK) as hub:
        post = poster(f"http://127.0.0.1:{hub.port}/")
        # The third request meets a hub that hangs up without an answer: it is sent once more.
        assert [post(b"%d" % n, {}).status for n in range(3)] == [200] * 3
        assert [request[-1:] for request in hub.requests] == [b"0", b"1", b"2", b"2"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nclose\r\n\r\nhi", id="a torn body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", id="a length that is none"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", id="an endless one"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300 + b"\r\n", id="headers upon headers"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", id="an endless line"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc",
            id="less than nothing",
        ),
    ],
)
def test_what_is_no_answer_is_told_and_the_next_request_begins_anew(poster, answer):
    with listening(answer, OK) as hub:
        post = poster(f"http://127.0.0.1:{hub.port}/")
        with pytest.raises(Unanswered, match=f"127.0.0.1 port {hub.port}: "):
            post(b"x", {})
        assert post(b"x", {}) == Answer(200, b"hi")


def test_nobody_there_is_told_with_where(poster, unused_port):
    with pytest.raises(Unanswered, match=f"127.0.0.1 port {unused_port}: .*refused"):
        poster(f"http://127.0.0.1:{unused_port}/")(b"x", {})


def test_a_certificate_that_nobody_vouches_for_is_not_believed(poster, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    run([*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    with listening(OK, OK, tls=tls) as hub:
        with pytest.raises(Unanswered, match="CERTIFICATE_VERIFY_FAILED"):
            poster(f"https://127.0.0.1:{hub.port}/")(b"x", {})
        asked = "from agents.node.post import poster; import sys;"
        asked += "print(poster(sys.argv[1])(b'x', {}))"
        told = run(
            [sys.executable, "-c", asked, f"https://127.0.0.1:{hub.port}/"],
            env={"SSL_CERT_FILE": str(cert), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout == "Answer(status=200, body=b'hi')\n"


def test_a_proxy_of_the_environment_is_used_where_it_leads_there(poster, monkeypatch):
    with listening(OK) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        assert poster("http://hub.example/v1")(b"x", {}) == Answer(200, b"hi")
        assert proxy.requests[0].startswith(b"POST http://hub.example/v1 HTTP/1.1\r\n")
        monkeypatch.setenv("no_proxy", "hub.example")
        with pytest.raises(Unanswered, match="port 80"):
            poster("http://hub.example/v1")(b"x", {})


def test_the_agents_process_loads_no_tls_and_none_of_the_large_libraries():
    """Each is a few MiB, of the forty that the process may have."""
    command = "import sys, agents.node.daemon; print(*sys.modules)"
    told = run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    large = {"ssl", "_ssl", "_hashlib", "http.client", "email", "urllib3", "urllib.request"}
    large |= {"prometheus_client", "asyncio", "pydantic", "structlog", "httpx", "logging"}
    assert large.isdisjoint(told.stdout.split())
