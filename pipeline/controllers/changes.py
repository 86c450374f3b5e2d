"""Changes of a proposal's decisions, and how a proposal is found that is new.

N proposals, T decisions, C choices.
"""

from collections.abc import Iterable, Iterator, Set

import numpy as np
import numpy.typing as npt

from pipeline.controllers.uniforms import Uniforms
from pipeline.spaces import DecisionSpace

Actions = tuple[int, ...]
Rows = npt.NDArray[np.int64]

# Tries with one changed decision before two are changed, then with two before three, and so on.
TRIES = 10


def choices_of(space: DecisionSpace) -> Rows:
    """C of each decision."""
    return np.array([decision.choices for decision in space.decisions], dtype=np.int64)


def uniform_choices(choices_T: Rows, count: int, generator: Uniforms) -> Rows:
    """``count`` proposals, each choice as likely as the others of its decision."""
    return (generator.take(count, len(choices_T)) * choices_T).astype(np.int64)


def change(rows_NT: Rows, counts_N: Rows, choices_T: Rows, generator: Uniforms) -> Rows:
    """Proposals with some of their decisions changed, which ones and to what by chance.

    ``counts_N`` says how many of each.

    Decisions that have but one choice stay; where fewer can change, fewer do.
    """
    order_NT = generator.take(*rows_NT.shape)
    order_NT = np.where(choices_T > 1, order_NT, np.inf)
    chosen_NT = order_NT.argsort(1).argsort(1) < counts_N[:, None]
    steps_NT = 1 + (generator.take(*rows_NT.shape) * (choices_T - 1)).astype(np.int64)
    return np.where(chosen_NT & (choices_T > 1), (rows_NT + steps_NT) % choices_T, rows_NT)


def changes_of(actions: Actions, choices_T: Rows, generator: Uniforms) -> Iterator[Actions]:
    """Neighbours of a proposal: one decision changed, after ten such two, and so on; it ends."""
    choices_T = choices_T[: len(actions)]
    row_1T = np.array([actions], dtype=np.int64)
    for tried in range(TRIES * len(choices_T)):
        count = np.array([1 + tried // TRIES])
        yield tuple(change(row_1T, count, choices_T, generator)[0].tolist())


def first_new(
    candidates: Iterable[Actions], space: DecisionSpace, known: Set[str]
) -> tuple[Actions, str]:
    """The first candidate whose digest is not known, with its digest; the last where all are.

    All are where a space holds fewer architectures than were asked for: a repeat costs nothing.
    """
    for actions in candidates:
        digest = space.digest(actions)
        if digest not in known:
            break
    return actions, digest
