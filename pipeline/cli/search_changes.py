"""``nasnet search delete``, ``rename``, ``note``, ``tag``: searches kept in order."""

import re
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from db.lifecycle import deletion, searches
from db.lifecycle.deletion import Owned
from db.schema.session import transaction
from pipeline.actions.searches import checked_name
from pipeline.actions.stores import open_store
from pipeline.cli.options import SearchArgument
from pipeline.cli.output import JsonFlag, print_json, say
from pipeline.errors import UserError
from pipeline.search_files.records import MOST_LETTERS, TAG
from tasks import steering

TagsOption = Annotated[
    list[str] | None, typer.Option(metavar="TAG", help="A tag; may be given several times.")
]


def delete(
    name: SearchArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete a search that rests: children, runs, trainings in full, weights; asks first.

    Genotypes go with it unless something else refers to them. There is no way back; `nasnet
    search export` keeps a copy of all but weights.
    """
    open_store()
    with transaction(read_only=True) as connection:
        search = searches.get(connection, name)
        deletion.check_rests(connection, search)
        found = None if yes else deletion.owned(connection, search)
    if found is not None:
        _ask(name, found)
    gone = steering.delete(name)
    if as_json:
        print_json({"search": name, **asdict(gone)})
    else:
        typer.echo(f"deleted search {name!r}: {_in_words(gone)}")


def _ask(name: str, found: Owned) -> None:
    """Have a person say that it is meant.

    Raises:
        UserError: nobody can be asked, or the answer is no.
    """
    if not sys.stdin.isatty():
        raise UserError(
            f"search {name!r} has {_in_words(found)}: nobody can be asked here, --yes deletes it"
        )
    if not typer.confirm(f"Delete search {name!r} with {_in_words(found)}, for ever?"):
        raise UserError("nothing was deleted")


def _in_words(found: Owned) -> str:
    full = f" ({found.in_full:,} trainings in full)" if found.in_full else ""
    return (
        f"{found.children:,} children, {found.runs:,} runs{full}, {found.genotypes:,} genotypes, "
        f"{found.files:,} files of {_size(found.bytes)}"
    )


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    power = min(len(f"{count}") - 1, 14) // 3
    return f"{count / 1000**power:.1f} {('KB', 'MB', 'GB', 'TB')[power - 1]}"


def rename(
    name: SearchArgument,
    new: Annotated[str, typer.Argument(help="The new name; no search may have it.")],
) -> None:
    """Give a search another name."""
    checked_name(new, "the new name")
    open_store()
    typer.echo(f"search {name!r} {steering.rename(name, new)}")


def note(
    name: SearchArgument,
    text: Annotated[
        str | None,
        typer.Argument(help='The new note, "" to remove it; without it, the note is shown.'),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show or write a search's note, in place of the one it has."""
    if text is not None and len(text) > MOST_LETTERS:
        raise UserError(f"a note has at most {MOST_LETTERS:,} letters, this one {len(text):,}")
    open_store()
    with transaction(read_only=text is None) as connection:
        search = searches.get(connection, name)
        written = search.note
        if text is not None:
            written = text or None
            searches.write_note(connection, search.id, written)
    if as_json:
        print_json({"search": name, "note": written})
    else:
        typer.echo(written or f"search {name!r} has no note")


def tag(
    name: SearchArgument,
    add: TagsOption = None,
    remove: TagsOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show or change the words a search is marked with; `search list --tag` looks for one."""
    for word in add or ():
        checked_tag(word)
    open_store()
    with transaction(read_only=not (add or remove)) as connection:
        search = searches.get(connection, name)
        if remove:
            searches.remove_tags(connection, search.id, remove)
        if add:
            searches.add_tags(connection, search.id, add)
        tags = searches.tags_of(connection, search.id)
    if as_json:
        print_json({"search": name, "tags": tags})
    else:
        say(", ".join(tags) or f"search {name!r} has no tags")


def checked_tag(word: str) -> str:
    """A word that may be a tag.

    Raises:
        UserError: it may not.
    """
    if not re.fullmatch(TAG, word) or word.startswith("-"):
        raise UserError(f"--add {word!r}: a tag has 1 to 50 letters, digits, and _ . + - / @ # =")
    return word
