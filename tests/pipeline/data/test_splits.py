"""Held-out images: of each class its share, the same for a seed, and as earlier releases drew."""

import hashlib

import numpy as np
import pytest

from pipeline.data.splits import hold_out


def labels_of(sizes, seed=3):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(labels)


def held_of_each(sizes, count, **options):
    labels = labels_of(sizes)
    held, left = hold_out(labels, count, 0, stratified=True, **options)
    assert sorted([*held, *left]) == list(range(len(labels)))
    return np.bincount(labels[held], minlength=len(sizes)).tolist()


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([95, 5], 10, [9, 1]),  # a random draw has none of the second class every other time
        ([50, 50], 10, [5, 5]),
        ([1, 50], 5, [0, 5]),  # its only image is to train with
        ([98, 2], 2, [1, 1]),
        ([0, 5, 5], 2, [0, 1, 1]),
        ([3, 3, 3], 8, [3, 3, 2]),  # more than the classes can spare
        ([4, 4, 4], 2, [1, 1, 0]),  # too few for all
    ],
)
def test_every_class_gives_its_share_and_at_least_one_and_keeps_its_last(sizes, count, expected):
    assert held_of_each(sizes, count) == expected


@pytest.mark.parametrize("count", [1, 17, 99, 100, 101, 450, 997])
def test_as_many_are_held_out_as_were_asked_for(count):
    sizes = [500, 300, 100, 50, 49, 1]
    assert sum(held_of_each(sizes, count)) == count


def test_a_share_differs_by_less_than_one_image_from_the_exact_one():
    sizes = np.random.default_rng(0).integers(20, 400, 30)
    held = held_of_each(sizes, 777)
    assert np.abs(np.array(held) - sizes * 777 / sizes.sum()).max() < 1


@pytest.mark.parametrize(
    ("stratified", "expected"), [(False, "0a17cc1f1774"), (True, "e551f6c8b5f7")]
)
def test_a_seed_draws_what_it_drew_in_every_release(stratified, expected):
    held, _ = hold_out(labels_of([200, 100, 30]), 40, 7, stratified=stratified)
    assert hashlib.sha256(held.astype("<i8").tobytes()).hexdigest()[:12] == expected


def test_seeds_draw_different_images():
    labels = labels_of([60, 60])
    draws = {hold_out(labels, 12, seed, stratified=True)[0].tobytes() for seed in range(5)}
    assert len(draws) == 5
