"""What was dear to find is kept for a while, and what is cheap is found anew."""

import itertools

import pytest

from pipeline.dashboard.cache import MOST, WORTH, Cache


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def found(clock):
    """Something to find: another number each time, that takes so many seconds."""
    numbers = itertools.count()

    def finds(seconds):
        def find():
            clock.now += seconds
            return next(numbers)

        return find

    return finds


def test_an_answer_is_kept_in_proportion_to_what_it_took(clock, found):
    kept = Cache(clock)
    assert kept.get("dear", found(2.0)) == 0
    clock.now += 2.0 * WORTH - 0.1
    assert kept.get("dear", found(2.0)) == 0
    clock.now += 0.2
    assert kept.get("dear", found(2.0)) == 1


def test_what_costs_nothing_is_found_each_time(clock, found):
    kept = Cache(clock)
    assert [kept.get("cheap", found(0.0)) for _ in range(3)] == [0, 1, 2]


def test_an_answer_stands_while_its_stamp_does(clock, found):
    kept = Cache(clock)
    for stamp, number in ((1, 0), (1, 0), (2, 1), (2, 1)):
        clock.now += 1e6
        assert kept.get("figure", found(0.1), stamp) == number


def test_the_oldest_answers_make_room(clock, found):
    kept = Cache(clock)
    for key in range(MOST + 1):
        kept.get(key, found(1.0), stamp="stands")
    assert kept.get(MOST, found(1.0), stamp="stands") == MOST
    assert kept.get(0, found(1.0), stamp="stands") == MOST + 1
