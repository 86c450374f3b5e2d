"""What this machine needs before it works, and the supervisor of its processes."""

from db.reads import at_work
from db.schema.session import transaction
from pipeline.machine.broker import server_binary
from pipeline.machine.supervisor import Supervisor
from pipeline.settings import get_settings
from tasks import notices
from tasks.devices import slot_specs
from tasks.worker import check_alone


def check_machine() -> None:
    """Look at what processes of this machine will need, before anything is written for them.

    Raises:
        UserError: the devices or the addresses of notices are no such thing; no broker can start;
            another host works here.
    """
    settings = get_settings()
    slot_specs(settings.devices)
    notices.check_addresses()
    if settings.broker_url is None:
        server_binary()
    check_alone()


def make_supervisor(dashboard: tuple[str, int] | None = None) -> Supervisor:
    """The supervisor of this home, and of a dashboard at an address; not in charge yet."""
    notices.check_addresses()
    settings = get_settings()
    with transaction(read_only=True) as connection:
        threads = at_work.active_threads(connection)
    return Supervisor(settings, slot_specs(settings.devices, threads), dashboard)
