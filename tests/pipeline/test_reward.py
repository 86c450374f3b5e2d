"""Rewards of accuracies and of failures (law 7)."""

import pytest

from pipeline.config import RewardConfig
from pipeline.errors import Failure
from pipeline.training.reward import failed_reward, reward


def test_reward_is_the_last_accuracy_by_default():
    assert reward([0.9, 0.5, 0.7], RewardConfig()) == 0.7


def test_reward_is_the_best_of_the_last_epochs_to_a_power():
    config = RewardConfig(last_epochs=2, power=3.0)
    assert reward([0.9, 0.5, 0.4], config) == pytest.approx(0.125)


def test_training_shorter_than_the_epochs_looked_at_has_a_reward():
    assert reward([0.25], RewardConfig(last_epochs=5)) == 0.25


@pytest.mark.parametrize("failure", ["oom", "diverged", "invalid", "timeout"])
def test_failure_of_the_child_earns_the_reward_of_failures(failure):
    assert failed_reward(Failure(failure), RewardConfig()) == 0.0
    assert failed_reward(Failure(failure), RewardConfig(failed=0.1)) == 0.1


@pytest.mark.parametrize("failure", ["lost", "data", "error"])
def test_failure_that_is_not_the_childs_earns_nothing(failure):
    assert failed_reward(Failure(failure), RewardConfig()) is None
