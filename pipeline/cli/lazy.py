"""Commands that are imported when they are asked for."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, TypedDict

import typer
import typer.core
import typer.main


class Entry(NamedTuple):
    """Where a command is, and what the list of commands says of it."""

    place: str  # module:attribute, which is a function or a typer.Typer
    help: str


class Look(TypedDict):
    """How all commands look, and what they are asked for their help with."""

    pretty_exceptions_enable: bool
    rich_markup_mode: None
    context_settings: dict[str, object]


LOOK = Look(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class LoadedCommands(Mapping[str, typer.core.TyperCommand | typer.core.TyperGroup]):
    """All commands by name; to look one up imports its module."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> typer.core.TyperCommand | typer.core.TyperGroup:
        module, _, attribute = self._entries[name].place.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        holder = typer.Typer(**LOOK)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=name)
        else:
            holder.command(name)(found)
        return typer.main.get_group(holder).commands[name]  # type: ignore[return-value]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class LazyGroup(typer.core.TyperGroup):
    """A group whose commands stand in a table; help and completion read the table alone."""

    entries: ClassVar[Mapping[str, Entry]]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LoadedCommands(self.entries)  # type: ignore[assignment] # none is added

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the table's order."""
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What the table says of a command: its name and its line of help."""
        entry = self.entries.get(cmd_name)
        return entry and typer.core.TyperCommand(cmd_name, help=entry.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is meant, imported, and its arguments."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else self.commands[name], rest
