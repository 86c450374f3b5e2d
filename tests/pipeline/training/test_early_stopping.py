"""When a child is hopeless, by its curve and those of others."""

import pytest

from pipeline.config.search import ASHAConfig, MedianConfig, make_config
from pipeline.errors import UserError
from pipeline.training.early_stopping import is_hopeless
from pipeline.training.image_problem import ImageProblem
from pipeline.training.trainer import train
from tests.pipeline.training.test_trainer import Recorder, changed, make_data, make_network, run

ASHA = ASHAConfig(name="asha", min_epochs=2, reduction=3)
MEDIAN = MedianConfig(name="median", min_epochs=2, min_children=3)


@pytest.mark.parametrize(
    ("accuracy", "hopeless"), [(0.1, True), (0.35, True), (0.45, False), (0.9, False)]
)
def test_asha_lets_the_best_third_go_on_from_a_rung(accuracy, hopeless):
    others = [[0.0, value] for value in (0.1, 0.2, 0.3, 0.4, 0.5)]  # six with itself: two go on
    assert is_hopeless(ASHA, [0.9, accuracy], others) is hopeless


def test_asha_asks_at_its_rungs_only():
    others = [[0.9] * 20] * 5
    asked = [epoch for epoch in range(1, 21) if is_hopeless(ASHA, [0.1] * epoch, others)]
    assert asked == [2, 6, 18]


def test_asha_stops_nobody_while_too_few_were_there_and_forgets_those_that_were_stopped():
    assert not is_hopeless(ASHA, [0.1, 0.1], [[0.9, 0.9]])
    assert not is_hopeless(ASHA, [0.1] * 6, [[0.9] * 6, *[[0.9] * 2] * 10])


def test_equals_go_on_together():
    assert not is_hopeless(ASHA, [0.5, 0.5], [[0.5, 0.5]] * 5)
    assert not is_hopeless(MEDIAN, [0.5, 0.5], [[0.5, 0.5]] * 5)


def test_the_median_rule_compares_the_best_so_far_with_the_median_of_means_so_far():
    others = [[0.2, 0.4], [0.3, 0.5], [0.5, 0.7, 0.99]]  # means of two: 0.3, 0.4, 0.6
    assert is_hopeless(MEDIAN, [0.39, 0.1], others)
    assert not is_hopeless(MEDIAN, [0.41, 0.1], others)
    assert not is_hopeless(MEDIAN, [0.1], others)  # too early
    assert not is_hopeless(MEDIAN, [0.1, 0.1], others[:2])  # too few


def test_a_hopeless_training_ends_there_and_says_so():
    asked = []

    def hopeless(curve):
        asked.append(len(curve))
        return len(curve) == 2

    network, hooks = make_network(), Recorder()
    result = train(
        network, ImageProblem(make_data()), changed(epochs=4), seed=7,
        device=next(network.parameters()).device, resume=None, hooks=hooks, is_hopeless=hopeless,
    )  # fmt: skip
    in_full = run(make_network(), make_data(), changed(epochs=4))
    assert asked == [1, 2]
    assert (result.stopped, in_full.stopped) == (True, False)
    assert result.accuracies == in_full.accuracies[:2]
    assert result.images_trained == in_full.images_trained // 2
    assert len(hooks.epochs) == 2


def test_it_is_off_by_default_and_a_rule_needs_its_name():
    assert make_config({}).early_stopping is None
    with pytest.raises(UserError, match="early_stopping"):
        make_config({"early_stopping": {"min_epochs": 3}})
    with pytest.raises(UserError, match=r"early_stopping\.reduction"):
        make_config({"early_stopping": {"name": "asha", "reduction": 1}})
