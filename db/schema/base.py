"""What every table's class begins from: names of constraints, and how types are stored."""

import datetime as dt
import enum
from typing import Annotated

from sqlalchemy import JSON, BigInteger, Enum, LargeBinary, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

from db.schema.clock import UTCDateTime
from db.schema.rows import JsonObject

_JSON = JSON().with_variant(JSONB(), "postgresql")
Big = Annotated[int, mapped_column(BigInteger)]


class Base(DeclarativeBase):
    """Constraint names are given, so that a migration can drop them; enums are stored by value."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        dt.datetime: UTCDateTime(),
        JsonObject: _JSON,
        dict[str, str]: _JSON,
        list[int]: _JSON,
        list[list[float]]: _JSON,
        bytes: LargeBinary(),
        # text by value, and no constraint: a new state is no migration
        enum.Enum: Enum(
            enum.Enum,
            native_enum=False,
            create_constraint=False,
            length=16,
            values_callable=lambda members: [member.value for member in members],
        ),
    }
