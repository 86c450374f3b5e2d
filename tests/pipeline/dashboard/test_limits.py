"""What a dashboard takes of whoever asks: small bodies, soon; few streams, which share a look."""

import asyncio
import contextlib
import itertools

import pytest
from sqlalchemy import select

from db.schema.models import Genotype
from db.schema.session import transaction
from pipeline.dashboard import bodies, connections, live
from pipeline.dashboard.access import make_access
from pipeline.dashboard.app import make_app
from pipeline.genotypes import drawing
from pipeline.settings import get_settings
from pipeline.spaces.registry import genotype_from_data
from tests.factories import fill_search, make_search
from tests.processes import wait_until
from tests.served import everything, request, serving

CHUNK = b"4000\r\n" + b"[" * 0x4000 + b"\r\n"
CHANGE = "POST /api/searches/digits/extend"


@pytest.fixture
def served(sqlite_store):
    """A dashboard on loopback."""
    make_search("digits")
    with serving() as served:
        yield served


def asked(app, path, *headers, body=()):
    """The status of a POST, and how much of its body was read."""
    read, answers = [], []

    async def receive():
        await asyncio.sleep(0)
        read.append(next(body))
        return {"type": "http.request", "body": read[-1], "more_body": True}

    async def send(message):
        answers.append(message)

    scope = dict(
        type="http", method="POST", path=path, raw_path=path.encode(), query_string=b"",
        headers=[(b"host", b"127.0.0.1"), *headers], client=("127.0.0.1", 1),
        server=("127.0.0.1", 1), scheme="http", http_version="1.1", root_path="",
        asgi={"version": "3.0", "spec_version": "2.3"},
    )  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return answers[0]["status"], sum(map(len, read))


CHUNKED = (b"transfer-encoding", b"chunked")


def test_no_more_than_a_small_body_is_read_and_nothing_of_a_stranger_s(sqlite_store, monkeypatch):
    monkeypatch.setattr(bodies, "LINGER", 0)
    app = make_app(make_access(get_settings(), "127.0.0.1"))
    bearer = (b"authorization", f"Bearer {app.state.access.token}".encode())
    endless = itertools.repeat(b"x" * 1000)
    for path in ("/api/searches/digits/extend", "/searches/digits/extend", "/signout", "/nope"):
        assert asked(app, path, CHUNKED, body=endless)[0] == 403, path
        assert asked(app, path, CHUNKED, body=endless)[1] == 0, path
        status, read = asked(app, path, CHUNKED, bearer, body=endless)
        assert status == 413, path
        assert read <= bodies.LARGEST + 1000, path
    assert asked(app, "/signin", CHUNKED, body=endless)[0] == 413
    length = (b"content-length", b"9" * 30)
    assert asked(app, "/signin", length, body=endless) == (413, 0)


@pytest.mark.parametrize("head", [[], ["Authorization: Bearer {}"]])
def test_who_sends_a_large_body_reads_why_it_is_refused(served, head):
    head = [line.format(served.token) for line in head]
    declared = request(CHANGE, *head, f"Content-Length: {2**23}") + b"x" * 2**23
    chunked = request(CHANGE, *head, "Transfer-Encoding: chunked") + CHUNK * 200 + b"0\r\n\r\n"
    for text in (declared, chunked):
        answer = served.said(text)
        assert answer.startswith(b"HTTP/1.1 413" if head else b"HTTP/1.1 403")
        assert b"connection: close" in answer.lower()


def test_who_asks_before_sending_a_large_body_is_not_told_to_go_on(served):
    head = (f"Authorization: Bearer {served.token}", "Expect: 100-continue")
    with served.connected(request(CHANGE, *head, "Content-Length: 600000000")) as connection:
        assert connection.recv(2**16).startswith(b"HTTP/1.1 413")


def test_a_form_with_files_is_refused_unread(served):
    kind = "Content-Type: multipart/form-data; boundary=x"
    body = b'--x\r\nContent-Disposition: form-data; name="token"; filename="f"\r\n\r\nx\r\n--x--'
    head = request("POST /signin", kind, f"Content-Length: {len(body)}", "Connection: close")
    assert served.said(head + body).startswith(b"HTTP/1.1 415")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: 127.0",
        request("POST /signin", "Content-Length: 100") + b"token=",
        request("POST /signin", "Transfer-Encoding: chunked") + b"4\r\ntok",
    ],
)
def test_a_request_that_does_not_come_whole_ends_its_connection(served, monkeypatch, text):
    monkeypatch.setattr(connections, "ARRIVES", 0.3)
    assert served.said(text) == b""


def test_a_second_request_on_a_connection_has_its_own_time_to_come(served, monkeypatch):
    monkeypatch.setattr(connections, "ARRIVES", 0.3)
    with served.connected(request("GET /nope")) as connection:
        assert b" 404 " in connection.recv(2**16)
        connection.sendall(b"GET / HT")
        everything(connection)  # ends


def test_who_does_not_read_the_answer_loses_the_connection(served, monkeypatch):
    monkeypatch.setattr(connections, "TAKEN", 0.3)
    with served.connected(request("GET /static/plotly.min.js") * 8):
        wait_until(lambda: served.connections, what="the connection")
        wait_until(lambda: not served.connections, what="its end")


def test_a_head_that_is_too_large_is_refused(served):
    for text in (request(f"GET /{'a' * 10**6}"), request("GET /", f"Cookie: {'a' * 10**6}")):
        assert served.said(text)[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 431", b""}
    many = "&".join(f"uses=x{i}" for i in range(101))
    assert b" 400 " in served.said(request(f"GET /?{many}", "Connection: close"))[:20]


STREAM = request("GET /searches/digits/events")


def test_all_who_follow_a_search_share_a_look_at_the_store(served, monkeypatch):
    looks = []
    look = live._status
    monkeypatch.setattr(live, "_status", lambda name: looks.append(name) or look(name))
    monkeypatch.setattr(live, "EVERY", 0.2)
    with (
        served.connected(STREAM) as first,
        served.connected(STREAM) as second,
        served.connected(STREAM) as third,
        served.connected(STREAM) as fourth,
    ):
        followers = [follower.makefile() for follower in (first, second, third, fourth)]
        told = 0
        for follower in followers * 10:
            while not follower.readline().startswith((":", "data:")):
                pass
            told += 1
    assert told == 40
    assert len(looks) < 20


def test_too_many_streams_are_refused_and_one_that_ends_makes_room(served, monkeypatch):
    monkeypatch.setattr(live, "MOST", 2)
    monkeypatch.setattr(live, "EVERY", 0.2)

    def status_of_one_more():
        with served.connected(STREAM) as more:
            return more.recv(12), more.recv(2**12)

    with served.connected(STREAM) as first:
        first.recv(2**12)
        with served.connected(STREAM) as second:
            second.recv(2**12)
            status, rest = status_of_one_more()
            assert status == b"HTTP/1.1 503"
            assert b"retry-after: 30" in rest.lower()
            assert b" 200 " in served.said(request("GET /", "Connection: close"))[:20]
        wait_until(lambda: status_of_one_more()[0] == b"HTTP/1.1 200", what="room")


def test_a_stream_of_a_search_that_is_not_there_takes_no_room(served, monkeypatch):
    monkeypatch.setattr(live, "MOST", 1)
    for _ in range(3):
        gone = request("GET /searches/nope/events", "Connection: close")
        assert served.said(gone).startswith(b"HTTP/1.1 404")
    with served.connected(STREAM) as stream:
        assert stream.recv(2**12).startswith(b"HTTP/1.1 200")


def test_many_drawings_at_once_are_each_the_right_one_and_keep_no_page_waiting(sqlite_store):
    fill_search(children=60, different=1000)
    with transaction(read_only=True) as connection:
        found = [genotype_from_data(body) for body in connection.scalars(select(Genotype.body))]
    assert len(found) > 50  # a thread each would be more than there are
    with serving() as served, contextlib.ExitStack() as asking:
        with drawing._graphviz_lock:  # nothing is drawn until a page has come
            waiting = [
                asking.enter_context(
                    served.connected(request(f"GET {address_of(genotype)}", "Connection: close"))
                )
                for genotype in found
            ]
            assert b" 200 " in served.said(request("GET /", "Connection: close"))[:20]
        for genotype, connection in zip(found, waiting, strict=True):
            picture = drawing.picture_of(genotype, genotype.digest[:12])
            _, _, drawn = everything(connection).partition(b"\r\n\r\n")
            assert drawn == drawing.draw(picture, "svg")


def address_of(genotype):
    return f"/genotypes/{genotype.digest}/genotype.svg"
