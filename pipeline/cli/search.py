"""``nasnet search``: searches as rows, whatever runs them. A table of its commands."""

import typer

from pipeline.cli.lazy import Entry, LazyGroup


class SearchCommands(LazyGroup):
    """What can be done to a search."""

    entries = {
        "create": Entry("pipeline.cli.search_create:create", "Create a search."),
        "list": Entry("pipeline.cli.search_lists:list_searches", "List all searches."),
        "show": Entry("pipeline.cli.search_lists:show", "Show a search and its configuration."),
        "watch": Entry("pipeline.cli.search_lists:watch", "Watch a search until it rests."),
        "pause": Entry("pipeline.cli.search_steering:pause", "Pause a search; its runs go back."),
        "resume": Entry("pipeline.cli.search_steering:resume", "Let a search that rests go on."),
        "stop": Entry("pipeline.cli.search_steering:stop", "End a search softly."),
        "extend": Entry("pipeline.cli.search_steering:extend", "Change a search's budget."),
        "accept-data": Entry(
            "pipeline.cli.search_steering:accept_data", "Go on with images that were changed."
        ),
        "digest": Entry("pipeline.cli.search_lists:digest", "Print one hash of all its results."),
        "delete": Entry("pipeline.cli.search_changes:delete", "Delete a search that rests."),
        "rename": Entry("pipeline.cli.search_changes:rename", "Give a search another name."),
        "note": Entry("pipeline.cli.search_changes:note", "Show or write a search's note."),
        "tag": Entry("pipeline.cli.search_changes:tag", "Show or change a search's tags."),
        "export": Entry("pipeline.cli.search_files:export", "Write a search to a file."),
        "import": Entry("pipeline.cli.search_files:import_", "Add a file's search to this store."),
    }


app = typer.Typer(
    cls=SearchCommands,
    help="Create, list, watch, steer and delete searches.",
    no_args_is_help=True,
)
