"""The command that somebody typed, to be typed again."""

import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TypedCommand:
    """A command as somebody typed it, to be typed again."""

    source: str
    name: str | None
    assignments: tuple[str, ...]
    as_json: bool = False

    def line(self, *, budget: bool = True) -> str:
        """The whole line, quoted for a shell; without the budget, where that has moved."""
        words = ["nasnet", "run", self.source]
        if self.name is not None:
            words += ["--name", self.name]
        for assignment in self.assignments:
            table = assignment.partition("=")[0].strip().split(".")[0]
            if budget or table != "budget":
                words += ["--set", assignment]
        return shlex.join([*words, "--json"] if self.as_json else words)
