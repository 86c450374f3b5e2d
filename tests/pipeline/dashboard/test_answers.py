"""What cannot be done is answered in a line, by whosever fault; nothing leads away."""

import asyncio

import pytest

from tests.factories import make_search
from tests.served import everything, request, serving


@pytest.fixture
def served(sqlite_store):
    """A dashboard on loopback."""
    make_search("digits")
    with serving() as served:
        yield served


def post(served, path, kind, body, *headers):
    """The answer to somebody with the token."""
    bearer = f"Authorization: Bearer {served.token}"
    sizes = (f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close")
    return served.said(request(f"POST {path}", bearer, *sizes, *headers) + body)


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("path", ["/signin", "/signout", "/searches/digits/extend"])
@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (f"{FORM}; charset=nonsense", b"key=children&value=x&token=x", {b"303", b"400", b"403"}),
        (f"{FORM}; charset=utf-16", b"key=children&value=x&token=x", {b"303", b"400", b"403"}),
        (FORM, b"token=%ff", {b"400"}),
        (FORM, b"token=\xff", {b"400"}),
        (FORM, b"a=1&" * 30, {b"400"}),
        ("multipart/form-data", b"--x", {b"415"}),
        ("multipart/form-data; boundary=x; charset=nonsense", b"--x", {b"415"}),
        ("text/plain", b"token=x", {b"415"}),
        ("application/json", b"{}", {b"415"}),
        ("\xff;\xff", b"x", {b"415"}),
    ],
)
def test_a_form_in_whatever_guise_is_answered_in_words(served, path, kind, body, status):
    assert post(served, path, kind, body).split()[1] in status


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"[" * 60_000,
            b'{"a":' * 10_000,
            b'{"children": ' + b"9" * 5000 + b"}",
            b"\xff",
            b"NaN",
        ),
        *(b'{"hours": NaN}', b'{"hours": Infinity}', b'{"hours": 1e400}', b'{"hours": -1}'),
        *(b'{"children": "\\ud800"}', b'"\\ud800"', b'{"children": 1.5}', b'{"children": {}}'),
        b'{"children": 1' + b"0" * 300 + b"}",
    ],
)
def test_json_that_is_none_is_answered_in_a_line(served, body):
    answer = post(served, "/api/searches/digits/extend", "application/json", body)
    assert answer.split()[1] in {b"400", b"422"}
    head, _, said = answer.partition(b"\r\n\r\n")
    assert len(said) < 1000
    assert said.startswith(b'{"error":')
    assert b"content-security-policy" in head.lower()


@pytest.mark.parametrize("path", ["/broken", "/api/broken"])
def test_a_fault_of_ours_is_said_in_a_line_and_logged_once(served, caplog, path):
    served.server._app.add_api_route(path, lambda: 1 // 0)
    answer = served.said(request(f"GET {path}", "Connection: close"))
    head, _, said = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500")
    assert b"content-security-policy" in head.lower()
    assert b"a fault of the dashboard" in said
    assert b"ZeroDivision" not in said
    assert b"Traceback" not in said
    [logged] = [record for record in caplog.records if record.exc_info]
    assert logged.exc_info[0] is ZeroDivisionError


def test_there_are_no_websockets(served):
    upgrade = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    answer = served.said(request("GET /nope", "Connection: Upgrade, close", *upgrade))
    assert answer.startswith(b"HTTP/1.1 404")
    sent = []

    async def send(message):
        sent.append(message["type"])

    asyncio.run(served.server._app({"type": "websocket", "path": "/"}, None, send))
    assert sent == ["websocket.close"]


def test_whom_a_request_says_it_asks_leads_nowhere_else(served):
    assert served.said(b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 400")  # no host
    evil = ("X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "Connection: close")
    for path in ("//evil.example/", "/searches/", "/workers/", "/signin?next=//evil.example"):
        answer = served.said(request(f"GET {path}", *evil))
        assert b"evil" not in answer, path
        assert b"location" not in answer.lower().partition(b"\r\n\r\n")[0], path
    token = f"token={served.token}".encode()
    [location] = [
        line
        for line in post(served, "/signin?next=//evil.example", FORM, token, *evil[:2]).split(
            b"\r\n"
        )
        if line.lower().startswith(b"location")
    ]
    assert location.split() == [b"location:", b"/"]


def test_one_connection_is_answered_in_order(served):
    texts = request("GET /nope"), request("GET /signin"), request("GET /no", "Connection: close")
    with served.connected(b"".join(texts)) as connection:
        answers = everything(connection)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"404", b"200", b"404"]
