"""Notices on their way: a thread of the reconciler sends what stands in the outbox.

One sender at a time, by a lease in the store. A notice is marked after it was sent, so one
whose sender dies in between goes twice, and none goes never.
"""

import functools
import logging
import threading
from types import ModuleType
from typing import Protocol

import structlog

from db.lifecycle import notices, slots
from db.schema.session import AWAY, transaction
from pipeline.errors import UserError
from pipeline.settings import get_settings

log = structlog.get_logger("tasks")

INTERVAL = 2.0  # seconds between looks
TURN = "notices"
TURN_SECONDS = 120.0  # longer than an address takes to answer


def loop(stop: threading.Event, owner: str) -> None:
    """Send until told to stop; a database that is away is waited for."""
    while not stop.wait(INTERVAL):
        try:
            send_waiting(owner)
        except AWAY as error:
            log.warning("the database is away", error=str(error))


def send_waiting(owner: str) -> int:
    """Send what waits for the addresses known here; returns how many notices arrived."""
    addresses = get_settings().addresses
    if not addresses:
        return 0
    with transaction() as connection:
        if slots.take_turn(connection, TURN, owner, TURN_SECONDS) is None:
            return 0
        waiting = notices.waiting(connection, list(addresses))
    arrived = 0
    for notice in waiting:
        with transaction() as connection:  # an address may take its time: the turn is renewed
            if slots.take_turn(connection, TURN, owner, TURN_SECONDS) is None:
                break
        sent = _send(addresses[notice.target], notice.title, notice.body)
        with transaction() as connection:
            if sent:
                notices.mark_sent(connection, notice.id)
            else:
                notices.postpone(connection, notice.id)
        arrived += sent
        if not sent:  # its address holds a secret, so only its hash is told
            log.warning("a notice was not delivered", notice=notice.id, address=notice.target)
    return arrived


def _send(url: str, title: str, body: str) -> bool:
    return bool(_service(url).notify(title=title, body=body))


class _Service(Protocol):
    """Apprise, as far as it is used here."""

    def add(self, servers: str) -> bool: ...

    def notify(self, body: str, title: str) -> bool | None: ...


@functools.cache
def _service(url: str) -> _Service:
    service: _Service = _apprise().Apprise()
    service.add(url)
    return service


def check_addresses() -> None:
    """Look at the addresses before anything depends on them.

    Raises:
        UserError: apprise is not installed, or does not know what an address means.
    """
    for number, url in enumerate(get_settings().notify.split(), 1):
        if not _apprise().Apprise().add(url):
            raise UserError(f"NASNET_NOTIFY: address {number} is no URL that apprise knows")


def _apprise() -> ModuleType:
    try:
        import apprise
    except ImportError:
        raise UserError(
            "NASNET_NOTIFY needs the extra `notice`: pip install 'nasnet-pipeline[notice]'"
        ) from None
    # what it logs may show an address, which is a secret
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    return apprise
