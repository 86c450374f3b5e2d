"""Odd requests to every route of the dashboard: each is answered in words, and changes nothing."""

import asyncio
import contextlib
import sqlite3
from urllib.parse import quote, unquote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from db.schema.models import Genotype
from db.schema.session import transaction
from pipeline.actions.figures import FIGURES
from pipeline.dashboard import app as application
from pipeline.dashboard.access import Access
from pipeline.dashboard.guard import HEADERS
from pipeline.dashboard.guesses import Guesses
from pipeline.dashboard.live import Streams
from tests.factories import MARKUP, fill_dashboard

ROUTES = [route for page in application.PAGES for route in page.module.router.routes]
PATHS = sorted({route.path for route in ROUTES} | {"/static/{name}", "/api/openapi.json"})
PARAMETERS = sorted(
    {field.alias for route in ROUTES for field in route.dependant.query_params}
    | {"uses", "without", "place", "arm", "min_reward", "max_macs", "sort", "page"}
)
EACH = settings(max_examples=max(15, settings().max_examples // len(PATHS)))
METHODS = (
    *(["GET"] * 5 + ["POST"] * 3),
    *("HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "get"),
)
KINDS = [
    *("application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=nonsense"),
    *("application/x-www-form-urlencoded; charset=utf-16", "multipart/form-data", "a/b", "", ";"),
    *("multipart/form-data; boundary=x; charset=nonsense", "application/json", "\xff"),
    *("application/json; charset=utf-7", "application/problem+json", "text/plain"),
]
NUMBERS = [
    *("0", "1", "-1", "9" * 20, "9" * 5000, "1e999", "-0", "nan", "inf", "1_0", "\u0661", "0x1"),
    *("1e308", "2147483648", "9223372036854775808", "1.5", "true", "null"),
]
TEXTS = [
    *(
        "",
        "digits",
        MARKUP,
        "pause",
        "extend",
        "children",
        "hours",
        "a\0b",
        "\ud800",
        "../..",
        "%",
    ),
    *(
        "svg",
        "png",
        "reward",
        "diverged",
        "nasnet-a",
        "' OR 1=1 --",
        "a\r\nSet-Cookie: b=c",
        "//x",
    ),
    *FIGURES,
]
BODIES = [
    *(b"", b"[" * 60_000, b'{"a":' * 10_000, b"{" + b'"a":1,' * 5_000 + b'"b":2}', b"\xff\xfe"),
    *(b'{"children": %s}' % (b"9" * 5000), b'{"hours": NaN}', b'{"hours": Infinity}'),
    *(b'{"children": "\\ud800"}', b'"\\ud800"', b"null", b"[]", b'{"children": 1e400}'),
    *(
        b"token=%ff",
        b"token=%00",
        b"token=\xff",
        b"csrf=&" * 1000,
        b"key=children&value=" + b"9" * 99,
    ),
    *(b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n", b"x" * 70_000),
]

texts = st.one_of(st.sampled_from(TEXTS + NUMBERS), st.text(max_size=20))
bodies = st.one_of(
    st.sampled_from(BODIES),
    st.binary(max_size=50),
    st.dictionaries(texts, texts, max_size=4).map(
        lambda fields: urlencode(fields, errors="surrogatepass").encode()
    ),
)


@st.composite
def requests(draw, path):
    """An odd request to a route, as a server hands it over."""
    fill = st.one_of(texts, st.sampled_from(digests()))
    parts = path.replace("}", "{").split("{")
    parts[1::2] = [quote(draw(fill), safe="", errors="surrogatepass") for _ in parts[1::2]]
    raw = "".join(parts).encode()
    pairs = draw(st.lists(st.tuples(st.one_of(st.sampled_from(PARAMETERS), texts), fill)))
    query = urlencode(pairs * draw(st.sampled_from([1, 1, 1, 50])), errors="surrogatepass")
    headers = [
        ("host", draw(st.sampled_from(["127.0.0.1"] * 9 + ["", "evil", "[", "127.0.0.1:x"])))
    ]
    names = ["authorization", "cookie", "accept", "range", "if-range", "origin", "x-forwarded-for"]
    values = st.one_of(
        st.sampled_from(
            ["Bearer x", "Bearer", "Basic YTpi", "bytes=0-", "bytes=5-1,x", "a=b; ;=", "*"]
        ),
        st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=20),
    )
    headers += draw(st.lists(st.tuples(st.sampled_from(names), values), max_size=3))
    body = draw(bodies)
    headers += [("content-type", draw(st.sampled_from(KINDS))), ("content-length", str(len(body)))]
    return dict(
        type="http", method=draw(st.sampled_from(METHODS)), path=unquote(raw.decode()),
        headers=[(k.encode(), v.encode("latin-1")) for k, v in headers],
        raw_path=raw, query_string=query.encode(),
        client=("127.0.0.1", 1), server=("127.0.0.1", 1), scheme="http", http_version="1.1",
        root_path="", asgi={"version": "3.0", "spec_version": "2.3"}, body=body,
    )  # fmt: skip


_digests = []


def digests():
    """Of genotypes that are there, and what begins like one."""
    return [*_digests[:2], *(digest[:6] for digest in _digests[:1]), "abcdef", "0" * 64]


@pytest.fixture(scope="module")
def filled(tmp_path_factory, sqlite_template):
    """A store with something on every page, made once."""
    folder = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASNET_HOME", str(folder))
        patch.delenv("NASNET_DATABASE_URL", raising=False)
        forget()
        (folder / "nasnet.db").write_bytes(sqlite_template.read_bytes())
        fill_dashboard()
        with transaction(read_only=True) as connection:
            _digests[:] = connection.scalars(select(Genotype.digest).limit(2))
        yield folder
        forget()


def forget():
    """What this process knows of its home."""
    from tests.conftest import _forget_process_state

    _forget_process_state()


@pytest.fixture(scope="module")
def asked(filled):
    """To ask by who asks and what; and a number that is another once the store was changed."""
    with (
        contextlib.closing(sqlite3.connect(filled / "nasnet.db")) as connection,
        asyncio.Runner() as runner,
    ):
        near = application.make_app(Access("a-token-of-mine", filled, reading_needs_it=False))
        far = application.make_app(Access("a-token-of-mine", filled, reading_needs_it=True))

        def ask(who, scope):
            if who == "owner":
                others = [(k, v) for k, v in scope["headers"] if k != b"authorization"]
                bearer = (b"authorization", b"Bearer a-token-of-mine")
                scope = {**scope, "headers": [*others, bearer]}
            app = far if who == "stranger from elsewhere" else near
            app.state.access._guesses = Guesses()  # so that each is looked at
            app.state.streams = Streams()
            return runner.run(answer(app, scope))

        yield ask, lambda: connection.execute("PRAGMA data_version").fetchone()[0]


async def answer(app, scope):
    """The status, headers and body of the answer; of a stream its beginning."""
    messages, done, given = [], asyncio.Event(), []

    async def receive():
        if given:
            await done.wait()
            return {"type": "http.disconnect"}
        given.append(True)
        return {"type": "http.request", "body": scope["body"], "more_body": False}

    async def send(message):
        messages.append(message)
        if message["type"] == "http.response.body":
            streams = b"text/event-stream" in b"".join(dict(messages[0]["headers"]).values())
            if streams or not message.get("more_body"):
                done.set()

    await app({key: value for key, value in scope.items() if key != "body"}, receive, send)
    start, *parts = messages
    return start["status"], start["headers"], b"".join(part["body"] for part in parts)


def check(answer):
    """An answer in words, by which nothing leaks and no browser is led astray."""
    status, headers, body = answer
    assert status < 500, body
    assert b"Traceback (most" not in body
    named = {name.decode().lower(): value.decode("latin-1") for name, value in headers}
    assert {name.lower() for name in HEADERS} <= named.keys()
    assert not any(set("\r\n\0") & set(value) for value in named.values())
    if named.get("content-type") not in {"image/png", "text/javascript; charset=utf-8"}:
        body.decode()
    assert status < 400 or len(body) < 10_000
    location = named.get("location", "/")
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))
    return status


@pytest.mark.parametrize("path", PATHS)
def test_odd_requests_are_answered_in_words_and_change_nothing_without_the_token(asked, path):
    ask, store = asked

    @EACH
    @given(st.data())
    def run(data):
        who = data.draw(st.sampled_from(["stranger", "owner", "stranger from elsewhere"]))
        scope, before = data.draw(requests(path)), store()
        status = check(ask(who, scope))
        if who != "owner" or scope["method"] != "POST":
            assert store() == before
        if who == "stranger from elsewhere" and not path.startswith(("/signin", "/static")):
            assert status in {303, 400, 401, 403}

    run()
