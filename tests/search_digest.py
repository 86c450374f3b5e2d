"""``python tests/search_digest.py FILE.toml [KEY=VALUE...]``: a search's digest, task by task.

It runs the search in this one process, without broker and leases, so that nothing disturbs it:
the digest that every other way of running the search must have.
"""

import sys

from db.lifecycle import searches
from db.reads import digests
from db.schema import migrations
from db.schema.enums import SearchState
from db.schema.session import transaction
from pipeline.actions.searches import open_search, read_request
from pipeline.actions.stores import open_home
from pipeline.settings import get_settings
from tasks import reconcile, sample, slot, train, update  # noqa: F401
from tasks.app import app, ring
from tasks.devices import SlotSpec


def main(path, *assignments):
    """Deliver every message at once, and print the digest."""
    sent = []
    app.send_task = lambda name, args, queue: sent.append((name, args))
    open_home()
    migrations.prepare()
    search_id = open_search(read_request(path, None, [*assignments]), resume=True).search_id
    # no thread says that it is alive, and a slot that was silent for two leases is given no run
    settings = get_settings().model_copy(update={"lease": 1e6})
    worker = slot.Slot(settings, "cpu-0", SlotSpec("cpu-0", "cpu", (0,)))
    slot.become(worker)
    worker.register()
    ring(search_id)
    while sent:
        name, args = sent.pop(0)
        app.tasks[name](*args)
    with transaction(read_only=True) as connection:
        assert searches.by_id(connection, search_id).state is SearchState.FINISHED
        print(digests.search_digest(connection, search_id))


if __name__ == "__main__":
    main(*sys.argv[1:])
