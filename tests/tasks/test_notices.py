"""Notices over real HTTP: what is told, to whom, and how often."""

import http.server
import json
import threading

import pytest
from sqlalchemy import select, text

from db.lifecycle import notices as outbox
from db.lifecycle import searches
from db.schema.clock import clock
from db.schema.enums import NoticeKind
from db.schema.models import Notice
from db.schema.session import transaction
from pipeline.errors import UserError
from pipeline.settings import get_settings
from tasks import notices
from tests import factories


class Listener:
    """An HTTP server that keeps what it is told, and may refuse to listen."""

    def __init__(self):
        self.heard = []
        self.status = 200
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if listener.status == 200:
                    listener.heard.append((body["title"], body["message"]))
                self.send_response(listener.status)
                self.end_headers()

            def log_message(self, *_):
                """Nothing."""

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def listeners(store, monkeypatch):
    """Two servers that are told of everything."""
    pytest.importorskip("apprise", reason="needs the extra `notice`")
    found = [Listener(), Listener()]
    monkeypatch.setenv("NASNET_NOTIFY", " ".join(listener.url for listener in found))
    monkeypatch.setenv("NASNET_NOTIFY_ON", "finished paused failing stalled best")
    get_settings.cache_clear()
    yield found
    for listener in found:
        listener.server.shutdown()
        listener.server.server_close()


def send():
    return notices.send_waiting("here:1")


def let_time_pass():
    """As if no pause were left."""
    with transaction() as connection:
        connection.execute(text("UPDATE notices SET not_before = NULL"))


def test_each_end_of_a_search_is_told_once_to_each_address(listeners):
    ids = [factories.make_search(name) for name in ("a", "b", "c", "d")]
    with transaction() as connection:
        searches.finish(connection, ids[0])
        searches.pause(connection, ids[1], "none of the last 20 children carries a reward")
        searches.fail(connection, ids[2], "no such key")
        searches.pause(connection, ids[3], searches.PAUSED_BY_HAND)
    assert send() == 6
    assert send() == 0
    for listener in listeners:
        assert [title for title, _ in listener.heard] == [
            "search a: finished",
            "search b: paused",
            "search c: failing",
        ]


def test_an_address_that_fails_hears_later_and_the_other_does_not_hear_twice(listeners):
    search_id = factories.make_search("a")
    listeners[0].status = 500
    with transaction() as connection:
        searches.finish(connection, search_id)
    assert send() == 1
    assert send() == 0  # not before its pause is over
    let_time_pass()
    assert send() == 0
    listeners[0].status = 200
    let_time_pass()
    assert send() == 1
    assert [len(listener.heard) for listener in listeners] == [1, 1]
    with transaction(read_only=True) as connection:
        assert sorted(connection.scalars(select(Notice.tries))) == [1, 3]


def test_a_sender_that_dies_before_it_marks_sends_again(listeners, monkeypatch):
    search_id = factories.make_search("a")
    with transaction() as connection:
        searches.finish(connection, search_id)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "mark_sent", die)
        with pytest.raises(KeyboardInterrupt):
            send()
    assert notices.send_waiting("there:2") == 0  # the turn is still the dead one's
    with transaction() as connection:
        connection.execute(text("UPDATE ticks SET until = NULL"))
    assert notices.send_waiting("there:2") == 2
    assert [len(listener.heard) for listener in listeners] == [2, 1]


def test_a_notice_goes_only_with_its_cause(listeners):
    search_id = factories.make_search("a")

    def fail():
        with transaction() as connection:
            searches.finish(connection, search_id)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert send() == 0


def test_a_better_best_child_is_told_and_an_equal_one_is_not(listeners):
    search_id, (first, second, third) = factories.make_children((1, 2, 3))
    slot_id = factories.make_slot()
    told = []
    for child_id, reward in ((first, 0.5), (second, 0.5), (third, 0.7)):
        run = factories.run_of(child_id)
        factories.queue_run(run.id)
        factories.claim(run.id, slot_id)
        factories.finish(run.id, 1, reward=reward)
        with transaction() as connection:
            outbox.add_best(connection, search_id)
        told.append(send() // 2)
    assert told == [1, 0, 1]
    assert [body for _, body in listeners[0].heard] == ["reward 0.5000", "reward 0.7000"]


def test_a_stalled_search_is_told_of_once(listeners):
    search_id, (child_id,) = factories.make_children((1,))
    ago = {"since": clock(-2 * outbox.STALLED_AFTER)}

    def look():
        with transaction() as connection:
            outbox.add_stalled(connection)
        return send()

    assert look() == 0
    with transaction() as connection:
        connection.execute(
            searches.update(searches.Search).values(
                resumed_at=ago["since"], created_at=ago["since"]
            )
        )
    run = factories.run_of(child_id)
    factories.queue_run(run.id)
    factories.claim(run.id, factories.make_slot())
    assert look() == 0  # a run is held
    with transaction() as connection:
        connection.execute(text("UPDATE runs SET state = 'pending'"))
    assert look() == 2
    assert look() == 0
    assert listeners[0].heard[0][0].endswith("stalled")
    with transaction(read_only=True) as connection:
        kinds = connection.scalars(select(Notice.kind).where(Notice.search_id == search_id))
        assert set(kinds) == {NoticeKind.STALLED}


def test_addresses_stay_out_of_the_store_and_bad_ones_are_refused_unshown(store, monkeypatch):
    pytest.importorskip("apprise", reason="needs the extra `notice`")
    monkeypatch.setenv("NASNET_NOTIFY", "jsons://user:secret@example.org nonsense://secret")
    get_settings.cache_clear()
    with pytest.raises(UserError, match="address 2") as caught:
        notices.check_addresses()
    assert "secret" not in str(caught.value)
    search_id = factories.make_search("a")
    with transaction() as connection:
        searches.finish(connection, search_id)
        rows = connection.execute(select(Notice)).all()
    assert len(rows) == 2
    assert "secret" not in str(rows)
