"""Rewards of accuracies."""

import pytest

from pipeline.config.search import RewardConfig
from pipeline.training.reward import reward


def test_reward_is_the_last_accuracy_by_default():
    assert reward({"accuracy": [0.9, 0.5, 0.7]}, RewardConfig()) == 0.7


def test_reward_is_the_best_of_the_last_epochs_to_a_power():
    config = RewardConfig(last_epochs=2, power=3.0)
    assert reward({"accuracy": [0.9, 0.5, 0.4]}, config) == pytest.approx(0.125)


def test_training_shorter_than_the_epochs_looked_at_has_a_reward():
    assert reward({"accuracy": [0.25]}, RewardConfig(last_epochs=5)) == 0.25
