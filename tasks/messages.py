"""What a message is: the name of a task, and one integer. Whatever else is in a queue is dropped.

Whoever can write to the broker can write anything. So neither kombu nor Celery sees what was in a
queue, but a message that is built anew from the name and the integer: no time before which it
waits, no callbacks, nobody to reply to, no content type but JSON.
"""

import base64
import enum
import json
import uuid
from typing import Annotated, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError


class Task(enum.StrEnum):
    """Tasks by name, so that a sender need not import what a worker needs."""

    SAMPLE = "tasks.sample"
    TRAIN = "tasks.train"
    UPDATE = "tasks.update"
    RECONCILE = "tasks.reconcile"


CONTROL_QUEUE = "control"
MOST_BYTES = 2**16  # one of ours has about a thousand


def train_queue(device: str, devices: int) -> str:
    """The queue of the slots that have this number of devices of a kind."""
    return f"train-{device}-{devices}"


class NoMessageError(Exception):
    """Bytes that no sender of ours wrote, and why."""


class _Headers(BaseModel):
    task: Task


class _Properties(BaseModel):
    body_encoding: Literal["base64"]


class _Envelope(BaseModel):
    """As kombu writes it; what else there is in one is of no use here."""

    model_config = ConfigDict(strict=True)

    content_type: Literal["application/json"] = Field(alias="content-type")
    content_encoding: Literal["utf-8"] = Field(alias="content-encoding")
    headers: _Headers
    properties: _Properties
    body: Base64Bytes


_Id = Annotated[int, Field(strict=True, ge=1, lt=2**63)]
_No = Annotated[dict[str, object], Field(max_length=0)]
_Extras = dict[Literal["callbacks", "errbacks", "chain", "chord"], None]
# positional arguments, keyword arguments, and what should follow: Celery's protocol 2
_BODY = TypeAdapter(tuple[tuple[_Id] | tuple[()], _No, _Extras])


def rebuilt(queue: str, item: bytes) -> bytes:
    """The message that a queue's item stands for, built anew.

    Raises:
        NoMessageError: it stands for none.
    """
    if len(item) > MOST_BYTES:
        raise NoMessageError(f"more than {MOST_BYTES} bytes")
    try:
        envelope = _Envelope.model_validate_json(item)
        arguments, _, _ = _BODY.validate_json(envelope.body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))[:80]
        raise NoMessageError(f"{where or 'all of it'}: {first['msg'][:200]}") from None
    task = envelope.headers.task
    if (task is Task.TRAIN) is (queue == CONTROL_QUEUE):
        raise NoMessageError(f"{task} is no task of this queue")
    if len(arguments) != (0 if task is Task.RECONCILE else 1):
        raise NoMessageError(f"{len(arguments)} arguments are not what {task} takes")
    return _built(queue, task, arguments)


def _built(queue: str, task: Task, arguments: tuple[int, ...]) -> bytes:
    name = str(uuid.uuid4())
    body = json.dumps([arguments, {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))])
    message = {
        "body": base64.b64encode(body.encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": task.value, "id": name},
        "properties": {
            "body_encoding": "base64",
            "correlation_id": name,
            "delivery_tag": name,
            "delivery_info": {"exchange": "", "routing_key": queue},
        },
    }
    return json.dumps(message).encode()
