"""Whatever somebody writes into a queue: the next message of ours arrives, and nothing is left."""

import base64
import contextlib
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from tasks.messages import CONTROL_QUEUE, NoMessageError, Task, rebuilt
from tests.servers import Broker
from tests.tasks.test_transport import Reader

NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63 - 1, 2**63, 2**64, 10**400, 1e400, float("nan"), True]),
    st.floats(),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text() | st.sampled_from(["", "utf-16", "zip"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
FIELDS = (
    *(("body",), ("content-type",), ("content-encoding",), ("headers",), ("properties",)),
    *(("redelivered",), ("headers", "redelivered"), ("delivery_info",)),
    *(("headers", name) for name in ("task", "id", "lang", "root_id", "parent_id", "group")),
    *(("headers", name) for name in ("eta", "expires", "countdown", "timelimit", "retries")),
    *(("headers", name) for name in ("shadow", "stamps", "stamped_headers", "ignore_result")),
    *(("headers", name) for name in ("argsrepr", "origin", "replaced_task_nesting", "meth")),
    *(("properties", name) for name in ("delivery_tag", "delivery_info", "body_encoding")),
    *(("properties", name) for name in ("reply_to", "correlation_id", "priority")),
    *(("properties", "delivery_info", name) for name in ("exchange", "routing_key")),
    *(("decoded", at) for at in (0, 1, 2)),
    *(("decoded", 2, name) for name in ("callbacks", "errbacks", "chain", "chord", "utc")),
)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.kill()


@pytest.fixture(scope="module")
def client(broker):
    with Redis.from_url(broker.url) as client:
        yield client


@pytest.fixture(scope="module")
def reader(broker):
    reader = Reader(broker.url)
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def envelope(reader, client):
    """One of ours; its body is read, as ``decoded``."""
    reader.send(Task.SAMPLE, 7)
    message = json.loads(client.lpop(CONTROL_QUEUE))
    message["decoded"] = json.loads(base64.b64decode(message["body"]))
    return message


def changed(envelope, changes):
    """An envelope with other values in some places, as bytes."""
    message = copy.deepcopy(envelope)
    for path, value in changes.items():
        place = message
        with contextlib.suppress(TypeError, KeyError, IndexError):  # another change took it away
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
    decoded = message.pop("decoded")
    if ("body",) not in changes:
        message["body"] = base64.b64encode(json.dumps(decoded).encode()).decode()
    return json.dumps(message).encode()


def check(reader, client, item):
    """The item is dropped, or arrives as a message of ours; then one of ours arrives."""
    reader.arrived.clear()
    client.rpush(CONTROL_QUEUE, item)
    reader.send(Task.UPDATE, 99)
    *forged, last = reader.read_until(99)
    assert last == (Task.UPDATE, 99)
    for task, subject_id in forged:
        assert task in {Task.SAMPLE, Task.UPDATE}
        assert 1 <= subject_id < 2**63
    assert client.keys() == []


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=1, max_size=3))
def test_a_message_with_whatever_in_some_of_its_fields_stops_nobody(
    reader, client, envelope, changes
):
    check(reader, client, changed(envelope, changes))


@given(st.sampled_from(FIELDS), st.integers(1, 20_000), st.sampled_from(["[", '{"a":']))
def test_a_field_that_is_nested_without_end_stops_nobody(reader, client, envelope, field, n, by):
    mark = "to be replaced"
    closing = "]" if by == "[" else "}"
    nested = by * n + "0" + closing * n
    item = changed(envelope, {field: mark}).replace(json.dumps(mark).encode(), nested.encode())
    check(reader, client, item)


@given(st.binary(min_size=1) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_whatever_bytes_stop_nobody(reader, client, item):
    check(reader, client, item)


@given(
    st.sampled_from([CONTROL_QUEUE, "train-cpu-1", "train-cuda-2", ""]),
    st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3),
)
def test_what_is_handed_on_has_the_shape_of_ours(envelope, queue, changes):
    try:
        message = json.loads(rebuilt(queue, changed(envelope, changes)))
    except NoMessageError:
        return
    [arguments, keywords, extras] = json.loads(base64.b64decode(message["body"]))
    assert keywords == {}
    assert set(extras.values()) == {None}
    assert [type(value) for value in arguments] in ([], [int])
    assert set(message["headers"]) == {"lang", "task", "id"}
    assert message["properties"]["delivery_info"] == {"exchange": "", "routing_key": queue}
