"""INSERT ... ON CONFLICT: SQLAlchemy has it once for each database, a statement here is both."""

from collections.abc import Callable

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import Executable

from db.schema.base import Base

# Their methods are alike, their classes are not.
Insert = sqlite.Insert | postgresql.Insert


class Upsert:
    """A statement that is built once for each database."""

    def __init__(self, table: type[Base], build: Callable[[Insert], Executable]) -> None:
        self._statements: dict[str, Executable] = {
            "sqlite": build(sqlite.insert(table)),
            "postgresql": build(postgresql.insert(table)),
        }

    def on(self, connection: Connection) -> Executable:
        """The statement in the words of a connection's database."""
        return self._statements[connection.dialect.name]
