"""Messages that are none, put into a real broker beside one that is."""

import socket

import pytest
from kombu import Connection, Consumer, Queue

from tasks import app  # noqa: F401 - chooses the transport
from tests.servers import Broker

GARBAGE = (
    b"{no message",
    b"\xff\xfe",
    b"[]",
    b"3",
    b"null",
    b"{}",
    b'{"body": "e30=", "properties": []}',
    b'{"properties": {"delivery_tag": [1]}}',
    b'{"properties": {"delivery_tag": {}, "body_encoding": "rot13"}, "body": "x"}',
    b'{"body": 3, "properties": {"delivery_tag": "1", "body_encoding": "base64"}}',
)


@pytest.fixture
def connection(tmp_path):
    """To a real broker, as those of the tasks are."""
    broker = Broker(tmp_path)
    with Connection(broker.url) as connection:
        yield connection
    broker.kill()


def test_what_is_no_message_is_dropped_and_the_next_one_arrives(connection):
    queue = Queue("q", routing_key="q")
    arrived = []
    channel = connection.channel()

    def take(body, message):
        arrived.append(body)
        message.ack()

    with Consumer(channel, queue, callbacks=[take]):
        for text in GARBAGE:
            channel.client.rpush("q", text)
        with connection.Producer() as producer:
            producer.publish([7], exchange="", routing_key="q")
        while not arrived:
            connection.drain_events(timeout=10)
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=0.1)
    assert arrived == [[7]]
