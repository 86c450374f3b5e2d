"""Regularised evolution, read against algorithm 1 of arXiv:1802.01548."""

from collections import Counter

import numpy as np
import pytest

from benchmarks.tables import TableSpace
from pipeline.config.controllers import EvolutionConfig
from pipeline.config.search import make_config
from pipeline.controllers import Outcome, Proposed, make_controller
from pipeline.controllers.changes import change, changes_of, choices_of
from pipeline.controllers.uniforms import Uniforms, uniforms
from pipeline.errors import UserError
from pipeline.spaces import NASNetSpace

SPACE = TableSpace((4, 3, 1, 5))
CHOICES = choices_of(SPACE)


def make(seed=0, **config):
    return make_controller(EvolutionConfig(batch=10, **config), SPACE, seed=seed)


def outcome(*actions, reward):
    return Outcome(actions, (0.0,) * len(actions), reward)


def distance(a, b):
    return sum(x != y for x, y in zip(a, b, strict=True))


def test_children_are_uniform_choices_until_the_population_is_full():
    evolution = make(population=2, tournament=2)
    evolution.update([outcome(0, 0, 0, 0, reward=1.0)])
    firsts = Counter(p.actions[0] for p in evolution.sample(0, 400, []))
    assert set(firsts) == {0, 1, 2, 3}
    assert max(firsts.values()) < 150


def test_a_child_is_the_best_of_the_population_with_one_decision_changed():
    evolution = make(population=3, tournament=3, replacement=False)
    best = (1, 2, 0, 3)
    evolution.update([outcome(*best, reward=0.9), *[outcome(0, 0, 0, 0, reward=0.1)] * 2])
    children = [p.actions for p in evolution.sample(0, 200, [])]
    assert {distance(child, best) for child in children} == {1}
    changed = Counter(t for child in children for t in range(4) if child[t] != best[t])
    assert set(changed) == {0, 1, 3}  # the third has one choice
    assert min(changed.values()) > 40


def parents_of(evolution, count=2000):
    """Whose child each proposal is; the population's members differ in two decisions."""
    members = [actions for actions, _ in evolution.population]
    return Counter(
        members.index(min(members, key=lambda parent: distance(p.actions, parent)))
        for p in evolution.sample(0, count, [])
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # of ten, four are drawn: 1 - (9/10)^4; without replacement 4/10
        pytest.param({}, 1 - 0.9**4, id="the paper's algorithm 1"),
        pytest.param({"replacement": False}, 0.4, id="without replacement"),
    ],
)
def test_the_best_of_the_population_is_a_parent_as_often_as_it_is_drawn(config, expected):
    evolution = make_controller(
        EvolutionConfig(batch=10, population=10, tournament=4, **config),
        TableSpace((10, 10, 10)),
        seed=0,
    )
    evolution.update([outcome(i, i, i, reward=i / 10) for i in range(10)])
    share = parents_of(evolution)[9] / 2000
    assert share == pytest.approx(expected, abs=0.02)  # two standard deviations


def test_the_worst_is_a_parent_only_where_it_may_be_drawn_again():
    """Nobody else takes part: (1/3)^2 of the tournaments of two among three."""
    for replacement, expected in ((True, 1 / 9), (False, 0)):
        evolution = make_controller(
            EvolutionConfig(batch=10, population=3, tournament=2, replacement=replacement),
            TableSpace((10, 10, 10)),
            seed=0,
        )
        evolution.update([outcome(i, i, i, reward=i / 10) for i in range(3)])
        assert parents_of(evolution)[0] / 2000 == pytest.approx(expected, abs=0.02)


def test_the_small_budget_s_tournament_is_the_whole_population():
    assert not EvolutionConfig(preset="small-budget").replacement
    assert EvolutionConfig().replacement


def test_the_oldest_die_however_good():
    evolution = make(population=2, tournament=2, replacement=False)
    evolution.update([outcome(3, 2, 0, 4, reward=1.0)])
    evolution.update([outcome(0, 0, 0, 0, reward=0.2), outcome(1, 1, 0, 1, reward=0.1)])
    assert evolution.population == [((0, 0, 0, 0), 0.2), ((1, 1, 0, 1), 0.1)]
    assert {distance(p.actions, (0, 0, 0, 0)) for p in evolution.sample(0, 20, [])} == {1}


def test_a_tournament_of_one_is_a_parent_by_chance():
    evolution = make(population=2, tournament=1)
    evolution.update([outcome(0, 0, 0, 0, reward=1.0), outcome(3, 2, 0, 4, reward=0.0)])
    parents = Counter(
        min((0, 0, 0, 0), (3, 2, 0, 4), key=lambda parent: distance(p.actions, parent))
        for p in evolution.sample(0, 200, [])
    )
    assert min(parents.values()) > 60


def test_a_child_that_was_proposed_is_drawn_again_with_more_changes_in_the_end():
    evolution = make(population=1, tournament=1, repeats=False)
    evolution.update([outcome(0, 0, 0, 0, reward=1.0)])
    near = [(a, b, 0, c) for a in range(4) for b in range(3) for c in range(5)]
    near = [row for row in near if distance(row, (0, 0, 0, 0)) <= 1]
    proposed = [Proposed(row, SPACE.digest(row), 0.5) for row in near]
    assert {distance(p.actions, (0, 0, 0, 0)) for p in evolution.sample(0, 5, proposed)} == {2}


def test_another_encoding_of_an_architecture_is_a_repeat_too():
    space = NASNetSpace(1)
    config = EvolutionConfig(preset="small-budget", batch=10)
    evolution = make_controller(config, space, seed=0)
    (first,) = evolution.sample(0, 1, [])
    left, right, left_op, right_op, *rest = first.actions
    swapped = (right, left, right_op, left_op, *rest)
    assert swapped != first.actions
    proposed = [Proposed(swapped, space.digest(swapped), None)]
    assert evolution.sample(0, 1, proposed)[0].actions != first.actions


def test_so_many_decisions_are_changed_and_each_to_another_choice():
    rows = np.tile([1, 2, 0, 3], (100, 1))
    for count in range(5):
        after = change(rows, np.full(100, count), CHOICES, Uniforms(0, 0, "policy", count))
        assert ((after != rows).sum(1) == min(count, 3)).all()
        assert (after < CHOICES).all()


def test_changes_end_even_where_nothing_can_change():
    space = TableSpace((1, 1))
    found = list(changes_of((0, 0), choices_of(space), Uniforms(0, 0, "policy", 0)))
    assert set(found) == {(0, 0)}


def test_a_generator_s_numbers_go_on_and_begin_with_those_of_its_proposal():
    generator = Uniforms(1, 2, "policy", 3)
    numbers = [generator.take(2, 3).ravel(), generator.take(500), generator.take(7)]
    assert (np.concatenate(numbers) == uniforms(1, 2, "policy", [3], 513)[0]).all()


def test_a_tournament_larger_than_the_population_is_refused():
    tables = {"controller": {"name": "evolution", "population": 10}}
    with pytest.raises(UserError, match=r"controller\.tournament: at most the population, 10"):
        make_config(tables)
