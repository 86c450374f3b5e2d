"""Shared weights: a pass that is interrupted and resumed, and what a score stands on."""

import itertools
import math

import pytest
import torch
from torch import nn

from pipeline.config.networks import MacroNetworkConfig, MicroNetworkConfig
from pipeline.config.search import TrainingConfig
from pipeline.config.sharing import SharedConfig
from pipeline.config.spaces import MacroSpaceConfig, MicroSpaceConfig
from pipeline.errors import ChildError, Failure, LeaseReturnedError
from pipeline.spaces import MacroSpace, MicroSpace
from pipeline.spaces.building import build_shared
from pipeline.training.checkpoint import CorruptCheckpointError
from pipeline.training.optimization import restarted_rate
from pipeline.training.shared_weights import Place, Scorer, SharedPass
from tests.pipeline.training.test_trainer import CPU, Recorder, assert_same, make_data

MACRO = MacroSpaceConfig(name="enas-macro", layers=2)
MICRO = MicroSpaceConfig(name="enas-micro", blocks=1)
NETWORKS = {
    MACRO: MacroNetworkConfig(skeleton="enas-macro", filters=2, reductions=[1], dropout=0.3),
    MICRO: MicroNetworkConfig(skeleton="enas-micro", num_cells=1, num_filters=2, dropout=0.3),
}
CONFIG = TrainingConfig(
    batch_size=16, schedule="restarts", restart_epochs=2, min_learning_rate=0.01,
    learning_rate=0.1, nesterov=True, checkpoint_seconds=0.0,
)  # fmt: skip


def make_supernet(space=MACRO):
    torch.manual_seed(0)
    return build_shared(space, NETWORKS[space], image_shape=(3, 8, 8), classes=4)


def children_of(space, count=4):
    """Children that differ, so that it matters whose minibatch is whose."""
    made = MacroSpace(space) if space is MACRO else MicroSpace(space)
    choices = itertools.product(*(range(d.choices) for d in made.decisions))
    return [made.decode(actions) for actions in itertools.islice(choices, 0, 5 * count, 5)]


def make_pass(space=MACRO, *, number=1, hooks=None, supernet=None, config=CONFIG):
    return SharedPass(
        supernet or make_supernet(space), make_data(), config,
        number=number, seed=7, device=CPU, hooks=hooks or Recorder(),
    )  # fmt: skip


@pytest.mark.parametrize("space", NETWORKS, ids=["macro", "micro"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_pass_that_was_interrupted_ends_bit_for_bit_as_an_unbroken_one(space, steps, tmp_path):
    children = children_of(space)
    unbroken = make_pass(space)
    unbroken.run(children)
    hooks = Recorder(tmp_path, stop_after=steps)
    with pytest.raises(LeaseReturnedError):
        make_pass(space, hooks=hooks).run(children)
    resumed = make_pass(space, hooks=Recorder())
    resumed.load_weights(hooks.newest)
    resumed.run(children)
    assert_same(resumed.weights(), unbroken.weights())
    assert resumed.hooks.epochs[0].loss == unbroken.hooks.epochs[0].loss
    assert len(resumed.hooks.steps) == 4 - steps


def test_weights_that_no_minibatch_had_stay_as_they_are():
    space = MacroSpace(MACRO)
    child = space.decode([0] * len(space.decisions))
    shared = make_pass()
    shared.run([child] * 4)  # from now on all momentum is there
    before = {name: p.clone() for name, p in shared.supernet.named_parameters()}
    other = space.decode([1] + [0] * (len(space.decisions) - 1))
    shared.number, shared.progress.step = 2, 0
    shared.run([other] * 4)
    moved = {n for n, p in shared.supernet.named_parameters() if not torch.equal(p, before[n])}
    first = {n for n in before if n.startswith("ops.1.")}
    assert not {n for n in moved & first if n.split(".")[2] != str(list_of(space)[1])}
    assert moved & first


def list_of(space):
    """The names of the first layer's operations, in the order of their actions."""
    rest = [0] * (len(space.decisions) - 1)
    return [space.decode([a, *rest]).layers[0].operation for a in range(6)]


def test_the_learning_rate_follows_from_the_pass_and_the_step():
    rates = []

    class Watching(Recorder):
        def on_step(self, images):
            rates.append(shared.optimizer.param_groups[0]["lr"])

    for number in (0, 1, 2):
        shared = make_pass(number=number, hooks=Watching())
        shared.run(children_of(MACRO))
    expected = [restarted_rate(CONFIG, i / 4) for i in range(12)]
    assert rates == expected
    assert rates[0] == rates[8] == 0.1  # begins again with the third pass
    assert rates[4] == pytest.approx(0.055)  # in the middle of the first two


def test_a_cosine_begins_again_each_time_longer():
    config = TrainingConfig(
        learning_rate=0.05, min_learning_rate=0.001, restart_epochs=10, restart_factor=2
    )
    for begin, period in [(0, 10), (10, 20), (30, 40), (70, 80), (150, 160)]:
        assert restarted_rate(config, begin) == 0.05
        assert restarted_rate(config, begin + period / 2) == pytest.approx(0.0255)
        last = restarted_rate(config, begin + period - 1e-9)
        assert last == pytest.approx(0.001)


def with_nan_losses(monkeypatch, count):
    """Let so many minibatches of a pass give a loss that is not finite."""
    from pipeline.training import shared_weights

    real, numbers = shared_weights.cross_entropy, itertools.count()

    def loss(*arguments, **keywords):
        value = real(*arguments, **keywords)
        return value * math.nan if next(numbers) < count else value

    monkeypatch.setattr(shared_weights, "cross_entropy", loss)


def test_a_minibatch_without_a_finite_loss_is_left_out(monkeypatch):
    with_nan_losses(monkeypatch, 1)
    config = CONFIG.model_copy(update={"batch_size": 2})
    data = make_data(images=250)
    hooks = Recorder()
    supernet = make_supernet()
    shared = SharedPass(supernet, data, config, number=0, seed=7, device=CPU, hooks=hooks)
    assert shared.steps == 125  # of which one in a hundred may be left out
    shared.run(children_of(MACRO, 12) * 11)
    assert shared.progress.skipped == 1
    assert all(p.isfinite().all() for p in supernet.parameters())
    assert math.isfinite(hooks.epochs[0].loss)


def test_a_pass_of_too_many_such_minibatches_has_diverged(monkeypatch):
    with_nan_losses(monkeypatch, 2)
    config = CONFIG.model_copy(update={"batch_size": 2})
    shared = SharedPass(
        make_supernet(), make_data(images=250), config,
        number=0, seed=7, device=CPU, hooks=Recorder(),
    )  # fmt: skip
    with pytest.raises(ChildError, match="minibatch 2 of 125") as error:
        shared.run(children_of(MACRO, 12) * 11)
    assert error.value.failure is Failure.DIVERGED


def test_weights_of_another_network_are_refused():
    other = nn.Linear(2, 2).state_dict()
    with pytest.raises(CorruptCheckpointError):
        make_pass().load_weights({"network": other, "optimizer": {}})


def make_scorer(space=MACRO, supernet=None, **changes):
    config = SharedConfig(**{"score_batch": 8, **changes})
    return Scorer(supernet or make_supernet(space), make_data(), config, seed=7, device=CPU)


@pytest.mark.parametrize("norm", ["batch", "moving"])
@pytest.mark.parametrize("space", NETWORKS, ids=["macro", "micro"])
def test_scoring_moves_no_buffer_and_no_weight(space, norm):
    supernet = make_supernet(space)
    before = {k: v.clone() for k, v in supernet.state_dict().items()}
    scorer = make_scorer(space, supernet, norm=norm)
    list(scorer.scores((child, scorer.all_images()) for child in children_of(space)))
    assert_same(dict(supernet.state_dict()), before)


def test_a_child_s_minibatch_is_its_own_whoever_else_is_scored():
    scorer = make_scorer()
    chosen = {
        (arm, version, k): tuple(scorer.minibatch(Place(arm, version, k)).tolist())
        for arm in ("policy", "control")
        for version in (0, 1)
        for k in (0, 1)
    }
    assert len(set(chosen.values())) == 8
    assert all(len(set(images)) == 8 for images in chosen.values())
    again = make_scorer().minibatch(Place("control", 1, 1))
    assert tuple(again.tolist()) == chosen["control", 1, 1]


def test_a_score_does_not_depend_on_what_was_scored_before():
    children = children_of(MACRO)
    scorer = make_scorer()
    [alone] = scorer.scores([(children[0], scorer.all_images())])
    others = [(child, scorer.minibatch(Place("policy", 0, 1))) for child in children[1:]]
    assert list(scorer.scores([*others, (children[0], scorer.all_images())]))[-1] == alone


def test_all_images_are_scored_in_parts_of_nearly_one_size(monkeypatch):
    """20 images, at most 8 at once: a rest of 4 would have worse statistics than the others."""
    scorer, sizes = make_scorer(), []
    forward = scorer.supernet.forward

    def watching(images, child):
        sizes.append(len(images))
        return forward(images, child)

    monkeypatch.setattr(scorer.supernet, "forward", watching)
    list(scorer.scores([(children_of(MACRO)[0], scorer.all_images())]))
    assert sizes == [7, 7, 6]


def test_logits_that_are_not_finite_have_no_score():
    supernet = make_supernet()
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.fill_(math.nan)
    scorer = make_scorer(supernet=supernet)
    assert list(scorer.scores([(children_of(MACRO)[0], scorer.all_images())])) == [None]
