"""Messages as somebody may write them who should not be able to."""

import base64
import itertools
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

from tasks.messages import Task

ARGUMENTS = (
    (10**12,),
    (-1,),
    (0,),
    (2**63,),
    (2**64,),
    (True,),
    (1.0,),
    (1e300,),
    ("1; DROP TABLE runs",),
    ({"id": 1}, "more"),
    (None,),
    (1, 2),
    (),
)
FOLLOWS = {"task": Task.UPDATE, "args": [1], "kwargs": {}, "options": {"queue": "elsewhere"}}
# a message of ours, but for this: where, and what is there instead
CHANGES = (
    (("content-type",), None),
    (("content-type",), "application/x-python-serialize"),
    (("content-type",), ["application/json"]),
    (("content-encoding",), None),
    (("content-encoding",), "no-such-encoding"),
    (("body",), None),
    (("body",), "not base64"),
    (("body",), 3),
    (("headers",), None),
    (("headers",), []),
    (("headers", "task"), "os.system"),
    (("headers", "task"), None),
    (("headers", "id"), [1]),
    (("headers", "id"), None),
    (("headers", "eta"), "2999-01-01T00:00:00"),
    (("headers", "eta"), "tomorrow"),
    (("headers", "eta"), 10**30),
    (("headers", "expires"), "1999-01-01T00:00:00"),
    (("headers", "expires"), -1e300),
    (("headers", "timelimit"), [0.001, 0.001]),
    (("headers", "timelimit"), "soon"),
    (("headers", "retries"), 10**30),
    (("headers", "group"), {}),
    (("headers", "shadow"), {}),
    (("headers", "redelivered"), "yes"),
    (("properties",), None),
    (("properties", "delivery_tag"), None),
    (("properties", "delivery_tag"), {}),
    (("properties", "delivery_tag"), "of another message"),
    (("properties", "delivery_info"), None),
    (("properties", "delivery_info"), {"exchange": "elsewhere", "routing_key": 3}),
    (("properties", "body_encoding"), "rot13"),
    (("properties", "priority"), "high"),
    (("properties", "reply_to"), "elsewhere"),
    (("decoded", 1), {"run_id": 1}),
    (("decoded", 2, "callbacks"), [FOLLOWS]),
    (("decoded", 2, "errbacks"), [FOLLOWS]),
    (("decoded", 2, "chain"), [FOLLOWS]),
    (("decoded", 2, "chord"), FOLLOWS),
    (("decoded",), "3"),
)
BYTES = (
    *(b"{no message", b"\xff\xfe", b"[]", b"null", b"{}", b'{"body": "e30=", "properties": []}'),
    *(b"[" * 50_000, b'{"a":' * 10_000, b"9" * 50_000),
    b'{"body": "' + b"A" * 2**20 + b'"}',
)


def _envelope(task: str, arguments: tuple) -> dict:
    """As Celery writes it; its body is read, as ``decoded``."""
    name = "00000000-0000-4000-8000-000000000000"
    return {
        "decoded": [
            arguments,
            {},
            {"callbacks": None, "errbacks": None, "chain": None, "chord": None},
        ],
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": name, "root_id": name, "eta": None},
        "properties": {
            "correlation_id": name,
            "reply_to": name,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "control"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": name,
        },
    }


def _packed(envelope: dict) -> bytes:
    decoded = json.dumps(envelope.pop("decoded")).encode()
    envelope.setdefault("body", base64.b64encode(decoded).decode())
    return json.dumps(envelope).encode()


def _changed(task: str, path: tuple, value: object) -> bytes:
    envelope = _envelope(task, (1,))
    place = envelope
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return _packed(envelope)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def _pickled(task: str, trap: Path) -> bytes:
    envelope = _envelope(task, ())
    body = pickle.dumps(((Trap(trap),), {}, {}))
    envelope["content-type"] = "application/x-python-serialize"
    envelope["content-encoding"] = "binary"
    envelope["body"] = base64.b64encode(body).decode()
    return _packed(envelope)


def forged(task: str, trap: Path) -> list[bytes]:
    """One message of each kind."""
    return [
        *(_packed(_envelope(task, arguments)) for arguments in ARGUMENTS),
        *(_packed(_envelope(other, (1,))) for other in (*Task, "os.system")),
        *(_changed(task, path, value) for path, value in CHANGES),
        *BYTES,
        _pickled(task, trap),
    ]


def flood(task: str, trap: Path, count: int) -> Iterator[bytes]:
    """``count`` messages, of all kinds in turn."""
    return itertools.islice(itertools.cycle(forged(task, trap)), count)
