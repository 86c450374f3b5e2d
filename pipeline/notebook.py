"""A store in a notebook: tables as data frames, figures, cells as pictures, networks to train.

    from pipeline.notebook import open_store

    store = open_store("nasnet-home")
    search = store.search("digits")
    search.genotypes(uses=["sep_conv_5x5"], min_reward=0.9)
    search.plot_history()
    search.best()[0]                  # drawn
    search.best()[0].network()        # as the search built it, with the weights that it kept
    search.best()[0].network(untrained=True, num_cells=2, num_filters=32)

It only reads. Needs the extra `notebook`; data frames are pandas', or polars' where asked for.
"""

import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import plotly.graph_objects as go
from sqlalchemy import Connection, Engine

from db.lifecycle import searches
from db.reads import ranking
from db.reads.ranks import Rank
from db.reads.sql import ask
from db.schema import migrations
from db.schema.enums import Arm, CellScope, Order
from db.schema.session import database_url, make_engine, transaction, using
from pipeline.actions import figures
from pipeline.actions.genotypes import COLUMNS, find_stored, make_filter
from pipeline.actions.stores import has_store
from pipeline.errors import UserError
from pipeline.genotypes.drawing import picture_of, svg_fragment
from pipeline.networks.inputs import Inputs
from pipeline.settings import read_settings
from pipeline.spaces.base import Genotype
from pipeline.spaces.registry import genotype_from_data

if TYPE_CHECKING:
    from torch import nn

    from pipeline.actions.networks import SearchNetwork

Frames = Literal["pandas", "polars"]
DataFrame: TypeAlias = Any  # pandas' or polars', neither of which has types here


def open_store(home: str | Path | None = None, *, frames: Frames = "pandas") -> "Store":
    """The store in a home, or that of the environment's settings; several may be open at once.

    Args:
        home: a folder with a SQLite store; None: what NASNET_DATABASE_URL or NASNET_HOME says.

    Raises:
        UserError: there is none, or it is older than this release.
    """
    settings = read_settings() if home is None else read_settings(home=home, database_url=None)
    if not has_store(settings):
        other = os.environ.get("NASNET_DATABASE_URL") and "; open_store() opens the database's"
        raise UserError(f"no store in {settings.home}: `nasnet run digits` makes one{other or ''}")
    store = Store(make_engine(database_url(settings)), frames)
    weakref.finalize(store, store.engine.dispose)  # a cell run again opens another
    with using(store.engine):
        migrations.require()
    return store


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Store:
    """All searches, and any question. It has a connection of its own."""

    engine: Engine
    frames: Frames = "pandas"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads this store."""
        with using(self.engine), transaction(read_only=True) as connection:
            yield connection

    def query(self, statement: str, *, seconds: float = 60.0) -> DataFrame:
        """A data frame of one SELECT's answer (docs/reference/tables.md).

        Raises:
            UserError: the database refuses the statement, or it took too long.
        """
        with using(self.engine), ask(statement, seconds=seconds) as answer:
            return _frame(self.frames, answer.columns, answer.rows)

    def searches(self) -> DataFrame:
        """A data frame of all searches."""
        return self.query(
            "SELECT name, state, reason, created_at, ended_at FROM searches ORDER BY id"
        )

    def search(self, name: str) -> "Search":
        """One search.

        Raises:
            UserError: there is none of this name.
        """
        with self.reading() as connection:
            return Search(self, searches.get(connection, name).id, name)

    def genotype(self, digest: str) -> "Found":
        """A genotype by the first letters of its digest, six or more.

        Raises:
            UserError: they are too few, or none or more than one begins so.
        """
        with self.reading() as connection:
            return Found(find_stored(connection, digest).genotype)


@dataclass(frozen=True, slots=True)
class Found:
    """A genotype: its cells are its picture."""

    genotype: Genotype
    reward: float | None = None
    rank: Rank | None = None  # among a search's best ...
    store: "Store | None" = None  # ... in this store

    @property
    def digest(self) -> str:
        """sha256 of the canonical form."""
        return self.genotype.digest

    def _repr_svg_(self) -> str:
        return svg_fragment(picture_of(self.genotype, self.digest[:12]))

    def network(
        self,
        *,
        untrained: bool = False,
        image_shape: tuple[int, int, int] | None = None,
        classes: int | None = None,
        seed: int = 0,
        **config: Any,
    ) -> "nn.Module":
        """Its network: of a search's best the search's own, with the weights that it kept.

        Args:
            untrained: whether the weights are drawn at random, with ``seed``; then whatever
                follows may be another.
            image_shape: (channels, height, width); else the search's, or CIFAR-10's.
            config: keys of a configuration's table `network`, such as ``num_cells=2``.

        Raises:
            UserError: no weights are kept, or a key or argument cannot be what it was given.
        """
        from pipeline.actions.networks import build_for, load_kept, plan_network  # loads torch

        if not untrained and (image_shape is not None or classes is not None or config):
            raise UserError("weights belong to one size: network(untrained=True, ...) has any")
        own = self._own()
        if not untrained:
            if own is None:
                raise UserError("a genotype has no weights: network(untrained=True)")
            kept = own.kept()
            network = build_for(own.genotype, own.config, own.inputs, seed=seed)
            load_kept(network, kept)
            return network
        plan = plan_network(self.genotype, own, config)
        return build_for(
            plan.genotype, plan.config, _changed(plan.inputs, image_shape, classes), seed=seed
        )

    def _own(self) -> "SearchNetwork | None":
        """The network of the search that it was taken from, if it was."""
        from pipeline.actions.networks import network_at  # loads torch

        if self.rank is None or self.store is None:
            return None
        with self.store.reading() as connection:
            return network_at(connection, self.rank)


@dataclass(frozen=True, slots=True)
class Search:
    """A search, as it is whenever it is asked."""

    store: Store
    id: int
    name: str

    def genotypes(
        self,
        *,
        uses: Iterable[str] = (),
        without: Iterable[str] = (),
        place: CellScope | str = CellScope.EITHER,
        arm: Arm | str | None = None,
        min_reward: float | None = None,
        min_accuracy: float | None = None,
        max_parameters: float | None = None,
        max_macs: float | None = None,
        sort: Order | str = Order.REWARD,
        limit: int = 10**6,
    ) -> DataFrame:
        """A data frame of genotypes with a reward, ranked and filtered like the command's list.

        Raises:
            UserError: there is no such operation.
        """
        wanted = make_filter(
            uses=uses,
            without=without,
            place=CellScope(place),
            arm=None if arm is None else Arm(arm),
            min_reward=min_reward,
            min_accuracy=min_accuracy,
            max_parameters=max_parameters,
            max_macs=max_macs,
        )
        with self.store.reading() as connection:
            rows = ranking.ranked(connection, self.id, wanted, order=Order(sort), limit=limit)
        values = [[_plain(getattr(row, column)) for column in COLUMNS] for row in rows]
        return _frame(self.store.frames, COLUMNS, values)

    def best(self, count: int = 10) -> list[Found]:
        """The best genotypes."""
        with self.store.reading() as connection:
            rows = ranking.best(connection, self.id, limit=count)
        return [
            Found(genotype_from_data(row.body), row.reward, Rank(self.name, rank), self.store)
            for rank, row in enumerate(rows, start=1)
        ]

    def plot(self, key: str) -> go.Figure:
        """Any figure by its name in ``pipeline.actions.figures.FIGURES``.

        Raises:
            UserError: there is no such figure.
        """
        if key not in figures.FIGURES:
            raise UserError(f"no figure {key!r}; there are {', '.join(figures.FIGURES)}")
        with self.store.reading() as connection:
            return figures.FIGURES[key].draw(connection, self.id)

    def plot_history(self) -> go.Figure:
        """Rewards over children, best so far, means of the best 5 and 25, by arm."""
        return self.plot("rewards")

    def plot_curves(self) -> go.Figure:
        """Learning curves of the best children."""
        return self.plot("curves")

    def plot_policy(self) -> go.Figure:
        """Entropy, KL, clip fraction, baseline, staleness and duplicates over versions."""
        return self.plot("policy")

    def plot_probabilities(self) -> go.Figure:
        """How likely the policy finds each choice, over versions."""
        return self.plot("probabilities")

    def plot_accuracy(self, against: Literal["parameters", "macs"] = "parameters") -> go.Figure:
        """Accuracy against size, with the front of the best of each size."""
        return self.plot(against)

    def plot_operations(self) -> go.Figure:
        """How often each operation is used, by quarter of the rewards."""
        return self.plot("operations")

    def plot_workers(self) -> go.Figure:
        """Which slot held what, lately."""
        return self.plot("workers")

    def plot_failures(self) -> go.Figure:
        """Failures by class."""
        return self.plot("failures")


def _plain(value: object) -> object:
    return str(value) if isinstance(value, str) else value


def _frame(frames: Frames, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> DataFrame:
    if frames == "polars":
        import polars  # an extra

        return polars.DataFrame(list(rows), schema=list(columns), orient="row")
    import pandas  # an extra, slow to load

    return pandas.DataFrame(list(rows), columns=list(columns))


def _changed(
    inputs: Inputs, image_shape: tuple[int, int, int] | None, classes: int | None
) -> Inputs:
    """Inputs of another shape or number of classes.

    Raises:
        UserError: there are no such images, or no such number.
    """
    shape = inputs.shape if image_shape is None else tuple(image_shape)
    if len(shape) != 3 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise UserError(f"image_shape {image_shape!r}: expected (channels, height, width)")
    count = inputs.classes if classes is None else classes
    if not isinstance(count, int) or count < 1:
        raise UserError(f"classes {classes!r}: expected 1 or more")
    return Inputs(shape, count)
