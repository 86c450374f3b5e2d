"""``nasnet search create``."""

from db.schema import migrations
from pipeline.actions.searches import check_search, open_search, read_request
from pipeline.actions.stores import open_home
from pipeline.cli.options import NameOption, SetOption, SourceArgument
from pipeline.cli.output import say
from pipeline.cli.progress import image_bar
from pipeline.cli.typed import TypedCommand
from pipeline.errors import UserError
from tasks import steering


def create(
    source: SourceArgument,
    name: NameOption = None,
    assignments: SetOption = None,
) -> None:
    """Create a search; the workers of this store, here or elsewhere, begin with it."""
    request = read_request(source, name, assignments)
    with image_bar() as on_file:
        checked = check_search(request, on_file)
    if checked is None:
        raise _is_there(request.name)
    open_home()
    migrations.prepare()
    opened = open_search(request, resume=False, checked=checked)
    if not opened.created:
        raise _is_there(opened.name)
    steering.ring_here(opened.search_id)
    if opened.data is not None:
        say(opened.data.line())
    command = TypedCommand(source, name, tuple(assignments or ())).line()
    say(
        f"created search {opened.name!r}; `{command}` starts workers and follows it, "
        f"`nasnet up` starts workers alone; `nasnet search watch {opened.name}` shows it"
    )


def _is_there(name: str) -> UserError:
    return UserError(f"search {name!r} is there already; `nasnet run` goes on with it")
