"""Shared weights: a pass that is interrupted and resumed, and what a score stands on."""

import itertools
import math

import pytest
import torch
from torch import nn

from pipeline.config.sharing import SharedConfig
from pipeline.config.training import TrainingConfig
from pipeline.errors import ChildError, Failure, LeaseReturnedError
from pipeline.networks.inputs import Inputs
from pipeline.spaces import MacroSpace, MicroSpace
from pipeline.spaces.building import build_shared
from pipeline.spaces.cells.config import MicroNetworkConfig, MicroSpaceConfig
from pipeline.spaces.macro.config import MacroNetworkConfig, MacroSpaceConfig
from pipeline.training.checkpoint import CorruptCheckpointError
from pipeline.training.image_problem import ImageProblem
from pipeline.training.optimization import restarted_rate
from pipeline.training.scoring import ProposalKey, Scorer
from pipeline.training.shared_weights import train_pass
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
    return build_shared(space, NETWORKS[space], Inputs((3, 8, 8), 4))


def children_of(space, count=4):
    """Children that differ, so that it matters whose minibatch is whose."""
    made = MacroSpace(space) if space is MACRO else MicroSpace(space)
    choices = itertools.product(*(range(d.choices) for d in made.decisions))
    return [made.decode(actions) for actions in itertools.islice(choices, 0, 5 * count, 5)]


def run_pass(
    children, space=MACRO, *, number=1, hooks=None, supernet=None, config=CONFIG, data=None,
    start=None, resume=None,
):  # fmt: skip
    return train_pass(
        supernet or make_supernet(space), ImageProblem(data or make_data()), config, children,
        number=number, seed=7, device=CPU, hooks=hooks or Recorder(), start=start, resume=resume,
    )  # fmt: skip


@pytest.mark.parametrize("space", NETWORKS, ids=["macro", "micro"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_pass_that_was_interrupted_ends_bit_for_bit_as_an_unbroken_one(space, steps, tmp_path):
    children = children_of(space)
    whole, hooks, rest = Recorder(), Recorder(tmp_path, stop_after=steps), Recorder()
    unbroken = run_pass(children, space, hooks=whole)
    with pytest.raises(LeaseReturnedError):
        run_pass(children, space, hooks=hooks)
    resumed = run_pass(children, space, hooks=rest, resume=hooks.newest)
    assert_same(resumed.state, unbroken.state)
    assert rest.epochs[0].loss == whole.epochs[0].loss
    assert len(rest.steps) == 4 - steps


def test_weights_that_no_minibatch_had_stay_as_they_are():
    space = MacroSpace(MACRO)
    child = space.decode([0] * len(space.decisions))
    supernet = make_supernet()
    first = run_pass([child] * 4, supernet=supernet)  # from now on all momentum is there
    before = {name: p.clone() for name, p in supernet.named_parameters()}
    other = space.decode([1] + [0] * (len(space.decisions) - 1))
    run_pass([other] * 4, supernet=supernet, number=2, start=first.state)
    moved = {n for n, p in supernet.named_parameters() if not torch.equal(p, before[n])}
    first = {n for n in before if n.startswith("ops.1.")}
    assert not {n for n in moved & first if n.split(".")[2] != str(list_of(space)[1])}
    assert moved & first


def list_of(space):
    """The names of the first layer's operations, in the order of their actions."""
    rest = [0] * (len(space.decisions) - 1)
    return [space.decode([a, *rest]).layers[0].operation for a in range(6)]


class Watching(Recorder):
    """Shows each checkpoint to a function."""

    def __init__(self, note):
        super().__init__()
        self.note = note

    def on_checkpoint(self, state, epoch, step):
        self.note(state)


def test_the_learning_rate_follows_from_the_pass_and_the_step():
    rates = []

    def note(state):
        rates.append(state["optimizer"]["param_groups"][0]["lr"])

    for number in (0, 1, 2):
        hooks = Watching(note)  # of each step but the last
        note(run_pass(children_of(MACRO), number=number, hooks=hooks).state)
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
    real, numbers = ImageProblem.loss, itertools.count()

    def loss(*arguments):
        value = real(*arguments)
        return value * math.nan if next(numbers) < count else value

    monkeypatch.setattr(ImageProblem, "loss", loss)


def test_a_minibatch_without_a_finite_loss_is_left_out(monkeypatch):
    with_nan_losses(monkeypatch, 1)
    config = CONFIG.model_copy(update={"batch_size": 2})
    data = make_data(images=250)
    skipped = []
    hooks = Watching(lambda state: skipped.append(state["progress"]["skipped"]))
    supernet = make_supernet()
    children = children_of(MACRO, 12) * 11
    run_pass(children, supernet=supernet, data=data, config=config, number=0, hooks=hooks)
    assert len(hooks.steps) == 125  # of which one in a hundred may be left out
    assert skipped[-1] == 1
    assert all(p.isfinite().all() for p in supernet.parameters())
    assert math.isfinite(hooks.epochs[0].loss)


def test_a_pass_of_too_many_such_minibatches_has_diverged(monkeypatch):
    with_nan_losses(monkeypatch, 2)
    config = CONFIG.model_copy(update={"batch_size": 2})
    data = make_data(images=250)
    with pytest.raises(ChildError, match="step 2 of 125") as error:
        run_pass(children_of(MACRO, 12) * 11, data=data, config=config, number=0)
    assert error.value.failure is Failure.DIVERGED


def test_weights_of_another_network_are_refused():
    other = nn.Linear(2, 2).state_dict()
    weights = {"network": other, "optimizer": {}}
    with pytest.raises(CorruptCheckpointError):
        run_pass(children_of(MACRO), start=weights)
    with pytest.raises(CorruptCheckpointError):
        run_pass(children_of(MACRO), resume=weights)


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
        (arm, version, k): tuple(scorer.minibatch(ProposalKey(arm, version, k)).tolist())
        for arm in ("policy", "control")
        for version in (0, 1)
        for k in (0, 1)
    }
    assert len(set(chosen.values())) == 8
    assert all(len(set(images)) == 8 for images in chosen.values())
    again = make_scorer().minibatch(ProposalKey("control", 1, 1))
    assert tuple(again.tolist()) == chosen["control", 1, 1]


def test_a_score_does_not_depend_on_what_was_scored_before():
    children = children_of(MACRO)
    scorer = make_scorer()
    [alone] = scorer.scores([(children[0], scorer.all_images())])
    others = [(child, scorer.minibatch(ProposalKey("policy", 0, 1))) for child in children[1:]]
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
