"""Messages that are none, put into a real broker beside one that is."""

import json
import socket

import pytest
from celery import Celery
from kombu import Connection, Consumer, Queue
from redis import Redis

from tasks.messages import CONTROL_QUEUE, MOST_BYTES, NoMessageError, Task, rebuilt
from tasks.transport import COMMANDS, KEYS
from tests.servers import Broker

GARBAGE = (
    b"{no message",
    b"\xff\xfe",
    b"[]",
    b"3",
    b"null",
    b"{}",
    b"[" * 60_000,
    b'{"a":' * 10_000,
    b"9" * 60_000,
    b'{"body": "' + b"A" * 2**24 + b'"}',
    b'{"body": "e30=", "properties": []}',
    b'{"properties": {"delivery_tag": [1]}}',
    b'{"properties": {"delivery_tag": {}, "body_encoding": "rot13"}, "body": "x"}',
    b'{"body": 3, "properties": {"delivery_tag": "1", "body_encoding": "base64"}}',
)


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture
def client(broker):
    with Redis.from_url(broker.url) as client:
        yield client


class Reader:
    """A consumer as a worker's is, that has one message in hand; and a sender."""

    def __init__(self, url, **options):
        self.arrived = []
        self.connection = Connection(url, transport_options=options)
        self.channel = self.connection.channel()
        self.channel.basic_qos(prefetch_count=1)
        self.sender = Celery(broker=url, set_as_current=False)
        self.sender.conf.broker_transport_options = options
        self.consumer = Consumer(
            self.channel, Queue(CONTROL_QUEUE), on_message=self._take, accept=["json"]
        )
        self.consumer.consume()

    def _take(self, message):
        [[subject_id], _, _] = message.decode()
        self.arrived.append((message.headers["task"], subject_id))
        message.ack()

    def send(self, task, subject_id):
        self.sender.send_task(task, args=(subject_id,), queue=CONTROL_QUEUE, retry=False)

    def read_until(self, subject_id):
        while not self.arrived or self.arrived[-1][1] != subject_id:
            self.connection.drain_events(timeout=30)
        return self.arrived

    def close(self):
        self.consumer.cancel()
        self.connection.close()
        self.sender.close()


@pytest.fixture
def reader(broker):
    reader = Reader(broker.url)
    yield reader
    reader.close()


@pytest.fixture
def envelope(reader, client):
    """A message as a sender of ours writes it."""
    reader.send(Task.SAMPLE, 7)
    return json.loads(client.lpop(CONTROL_QUEUE))


def test_what_is_no_message_is_dropped_and_the_next_one_arrives(reader, client):
    for text in GARBAGE:
        client.rpush(CONTROL_QUEUE, text)
    reader.send(Task.UPDATE, 7)
    assert reader.read_until(7) == [(Task.UPDATE, 7)]
    with pytest.raises(socket.timeout):
        reader.connection.drain_events(timeout=0.1)
    assert client.keys() == []


def test_a_message_without_a_content_type_is_dropped_and_leaves_nothing_unacknowledged(
    reader, client, envelope
):
    client.rpush(CONTROL_QUEUE, json.dumps({**envelope, "content-type": None}))
    reader.send(Task.SAMPLE, 8)
    assert reader.read_until(8) == [(Task.SAMPLE, 8)]
    assert client.keys() == []


def test_nothing_but_task_and_number_of_a_message_is_handed_on(envelope):
    first = json.loads(rebuilt(CONTROL_QUEUE, json.dumps(envelope).encode()))
    envelope["headers"] |= {"eta": "2999-01-01T00:00:00", "timelimit": [1, 1], "retries": 10**9}
    envelope["properties"] |= {"reply_to": "elsewhere", "delivery_tag": "another's"}
    again = json.loads(rebuilt(CONTROL_QUEUE, json.dumps(envelope).encode()))
    assert again["headers"] == {**first["headers"], "id": again["headers"]["id"]}
    assert set(again["properties"]) == set(first["properties"])
    assert again["properties"]["delivery_tag"] not in {"another's", first["headers"]["id"]}
    assert again["body"] == first["body"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"headers": {"task": "os.system"}}, "headers.task"),
        ({"headers": {"task": Task.TRAIN}}, "no task of this queue"),
        ({"headers": {"task": Task.RECONCILE}}, "1 arguments"),
        ({"content-type": "application/x-python-serialize"}, "content-type"),
        ({"content-encoding": "rot13"}, "content-encoding"),
        ({"filler": "x" * MOST_BYTES}, "more than"),
    ],
)
def test_a_message_that_is_refused_says_why(envelope, change, why):
    with pytest.raises(NoMessageError, match=why):
        rebuilt(CONTROL_QUEUE, json.dumps({**envelope, **change}).encode())


@pytest.mark.parametrize("how", ["set", "hset", "sadd", "zadd"])
def test_a_key_of_a_queue_s_name_that_is_no_list_is_removed(reader, client, how):
    reader.send(Task.SAMPLE, 1)
    reader.read_until(1)
    forged = {"set": ("x",), "hset": ("x", "y"), "sadd": ("x",), "zadd": ({"x": 1},)}[how]
    getattr(client, how)(CONTROL_QUEUE, *forged)
    while client.exists(CONTROL_QUEUE):
        reader.connection.drain_events(timeout=30)
    reader.send(Task.SAMPLE, 2)
    assert reader.read_until(2) == [(Task.SAMPLE, 1), (Task.SAMPLE, 2)]


def test_what_is_forged_where_kombu_keeps_its_notes_is_not_read(reader, client):
    for note in ("unacked", "unacked_index", "unacked_mutex", f"_kombu.binding.{CONTROL_QUEUE}"):
        client.lpush(note, "no hash, no index, no lock, no binding")
    reader.send(Task.SAMPLE, 3)
    assert reader.read_until(3) == [(Task.SAMPLE, 3)]


def test_an_item_that_takes_more_memory_than_there_is_is_dropped(reader, client, monkeypatch):
    parse = type(reader.channel.client).parse_response

    def without_memory(*arguments, **options):
        monkeypatch.undo()
        parse(*arguments, **options)
        raise MemoryError

    reader.send(Task.SAMPLE, 4)
    monkeypatch.setattr(type(reader.channel.client), "parse_response", without_memory)
    reader.connection.drain_events(timeout=30)
    reader.send(Task.SAMPLE, 5)
    assert reader.read_until(5) == [(Task.SAMPLE, 5)]


def test_a_user_that_may_do_no_more_than_the_embedded_broker_s_can_ring_and_hear(broker, client):
    allowed = [f"+{command}" for command in COMMANDS]
    client.execute_command(
        *("ACL", "SETUSER", "nasnet", "on", ">word", f"~{KEYS}", "resetchannels", "-@all"),
        *allowed,
    )
    url = broker.url.replace(":secret@", "nasnet:word@")
    reader = Reader(url, global_keyprefix="nasnet:store:")
    reader.send(Task.SAMPLE, 1)
    client.set(f"nasnet:store:{CONTROL_QUEUE}", "no list", xx=True)
    while client.exists(f"nasnet:store:{CONTROL_QUEUE}"):
        reader.connection.drain_events(timeout=30)
    reader.send(Task.SAMPLE, 2)
    reader.read_until(2)
    reader.close()
    refused = {entry["object"] for entry in client.acl_log()}
    assert refused <= {"client|setinfo"}  # redis-py says its name where it may
