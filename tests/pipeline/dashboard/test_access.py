"""Signing in to the dashboard and out of it; wrong tokens have to wait."""

from fastapi.testclient import TestClient

from pipeline.dashboard import guesses, sessions
from pipeline.dashboard.access import make_access
from pipeline.dashboard.app import make_app
from pipeline.dashboard.guesses import Guesses
from pipeline.dashboard.sessions import Sessions
from pipeline.settings import get_settings
from tests.factories import make_search


class Clock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def browser(cookies=None):
    """Somebody at a dashboard of the home that has just been started."""
    app = make_app(make_access(get_settings(), "127.0.0.1"))
    url = "http://127.0.0.1"
    return TestClient(app, base_url=url, follow_redirects=False, cookies=dict(cookies or {}))


def sign_in(client):
    assert client.post("/signin", data={"token": client.app.state.access.token}).is_redirect
    return secret(client)


def secret(client):
    """The forms' own, of whoever has signed in."""
    access = client.app.state.access
    return access.csrf(client.cookies[access.cookie])


def is_known(client):
    return "Sign out" in client.get("/").text


def test_a_session_is_every_dashboard_s_of_the_home_and_outlives_them(sqlite_store):
    one = browser()
    sign_in(one)
    other = browser(one.cookies)
    assert is_known(other)
    make_search("digits")
    csrf = {"csrf": secret(other)}
    assert other.post("/searches/digits/pause", data=csrf).headers["location"]


def test_a_cookie_that_was_copied_ends_with_the_session(sqlite_store):
    owner = browser()
    csrf = sign_in(owner)
    thief = browser(owner.cookies)
    beside = browser()
    sign_in(beside)
    assert is_known(thief)
    assert owner.post("/signout", data={"csrf": csrf}).status_code == 303
    assert not is_known(thief)
    assert not is_known(owner)
    assert is_known(beside)  # a session of its own
    assert thief.post("/signout", data={"csrf": csrf}).status_code == 403


def test_a_form_of_another_session_changes_nothing(sqlite_store):
    make_search("digits")
    one, other = browser(), browser()
    csrf = sign_in(one)
    assert csrf != sign_in(other)
    answer = other.post("/searches/digits/pause", data={"csrf": csrf})
    assert answer.status_code == 403
    assert "this form is not of this dashboard" in answer.text


def test_a_session_ends_after_a_week_and_with_its_token(home):
    clock = Clock()
    known = Sessions(home, "token", clock)
    session = known.begin()
    assert known.stands(session)
    assert not Sessions(home, "another", clock).stands(session)
    clock.now += sessions.LASTS + 1
    assert not known.stands(session)


def test_the_file_of_sessions_opens_none_and_is_its_owner_s_alone(home):
    known = Sessions(home, "token")
    begun = [known.begin() for _ in range(sessions.MOST + 5)]
    path = home / "dashboard.sessions"
    text = path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert not any(session in text for session in begun)
    assert not any(known.stands(line.split()[0]) for line in text.splitlines())
    assert len(text.splitlines()) == sessions.MOST
    path.unlink()  # signs out everybody at once
    assert not known.stands(begun[-1])


def guess(table, text, host="192.0.2.1"):
    return table.check(host, text, lambda text: text == "right")


def test_wrong_tokens_wait_longer_and_longer_and_the_right_one_ends_that():
    clock = Clock()
    table = Guesses(clock)
    assert [guess(table, f"wrong {n}") for n in range(guesses.FREE)] == [False] * guesses.FREE
    waits = []
    for n in range(10):
        waits.append(guess(table, f"next {n}"))
        assert guess(table, "right") == waits[-1]  # not even looked at
        clock.now += waits[-1]
        assert guess(table, f"next {n}") is False
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == guesses.LONGEST
    clock.now += guesses.LONGEST
    assert guess(table, "right") is True
    assert guess(table, "wrong again") is False
    assert guess(table, "right") is True


def test_who_guesses_locks_nobody_out_who_is_elsewhere():
    clock = Clock()
    table = Guesses(clock)
    assert guess(table, "right", "198.51.100.7") is True
    for n in range(3000):  # from as many places
        host = f"10.{n // 250}.{n % 250}.1"
        guess(table, f"wrong {n}", host)
        clock.now += 0.1
    assert guess(table, "right", "198.51.100.7") is True
    wait = guess(table, "right", "203.0.113.9")  # was never here
    assert 0 < wait <= guesses.LONGEST_OF_ALL
    clock.now += wait
    assert guess(table, "right", "203.0.113.9") is True
    assert len(table._wrong) <= guesses.MOST


def test_the_same_wrong_token_again_and_again_is_one_guess():
    """A program that was started with an old token locks out nobody beside it."""
    table = Guesses(Clock())
    assert {guess(table, "old") for _ in range(100)} == {False}
    assert guess(table, "right") is True


def test_one_who_has_many_addresses_in_ipv6_is_one():
    table = Guesses(Clock())
    for n in range(guesses.FREE):
        guess(table, f"wrong {n}", f"2001:db8::{n:x}")
    assert guess(table, "wrong", "2001:db8::ffff:1") == 1
    assert guess(table, "right", "2001:db8:0:1::1") is True


def test_tokens_are_guessed_no_faster_by_programs_than_by_the_form(sqlite_store):
    client = browser()
    for n in range(guesses.FREE):
        address = "/api/searches" if n % 2 else "/"
        client.get(address, headers={"Authorization": f"Bearer wrong-token-{n}"})
    right = client.app.state.access.token
    by_form = client.post("/signin", data={"token": right})
    by_program = client.get("/api/searches", headers={"Authorization": f"Bearer {right}"})
    for answer in (by_form, by_program):
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= guesses.LONGEST
        assert "too many wrong tokens" in answer.text
    assert client.get("/").status_code == 200  # who only reads does not wait
