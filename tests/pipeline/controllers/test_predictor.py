"""The predictor and its Gaussian process, held against plainer code for the same."""

import itertools
import math
import statistics

import pytest
import torch

from benchmarks.tables import TableSpace
from pipeline.config.controllers import PredictorConfig
from pipeline.controllers import Outcome, Proposed, make_controller
from pipeline.controllers import gaussian_process as gp
from pipeline.controllers.predictor import _remembered
from pipeline.spaces import NASNetSpace

SIZES = (3, 4, 2)
ONE_HOT = gp.OneHot(SIZES)


def some_rows(count, seed=0):
    everything = torch.tensor(list(itertools.product(*map(range, SIZES))))
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(seed))
    return everything[order[:count]]


def some_parameters():
    return torch.tensor([-0.5, 0.3, -1.2, math.log(0.1)], dtype=torch.float64)


def kernel(a, b, parameters):
    differ = (a[:, None] != b[None]).double()
    return (-(differ * parameters[:-1].exp()).sum(-1)).exp()


def noisy(rows, parameters):
    return kernel(rows, rows, parameters) + parameters[-1].exp() * torch.eye(len(rows))


def test_one_hot_rows_have_a_column_for_each_choice():
    assert ONE_HOT(torch.tensor([[2, 0, 1]])).tolist() == [[0, 0, 1, 1, 0, 0, 0, 0, 1]]


def test_the_gradient_is_that_of_the_marginal_likelihood():
    """By autograd, through the density written out; s at its best is a function of the rest."""
    rows, scores = some_rows(12), torch.randn(12, dtype=torch.float64)
    parameters = some_parameters().requires_grad_()
    matrix = noisy(rows, parameters)
    variance = scores @ torch.linalg.solve(matrix, scores) / 12
    log_likelihood = -0.5 * (12 * variance.log() + torch.logdet(matrix))
    log_likelihood.backward()
    ours = gp._gradient(parameters.detach(), ONE_HOT(rows), scores, ONE_HOT)
    torch.testing.assert_close(ours, parameters.grad)


def test_means_and_variances_are_those_of_the_textbook():
    rows, scores, parameters = (
        some_rows(10),
        torch.randn(10, dtype=torch.float64),
        some_parameters(),
    )
    new = some_rows(24)[10:]
    inverse = torch.linalg.inv(noisy(rows, parameters))
    cross = kernel(rows, new, parameters)
    scale = scores @ inverse @ scores / 10
    covariance = scale * (kernel(new, new, parameters) - cross.t() @ inverse @ cross)
    posterior = gp.Posterior(parameters, rows, scores, new[:0], ONE_HOT)
    mean, variance, whitened = posterior.predict(new)
    torch.testing.assert_close(mean, cross.t() @ inverse @ scores)
    torch.testing.assert_close(variance, covariance.diagonal())
    torch.testing.assert_close(posterior.covariance(new, whitened, 3), covariance[3])


def test_a_child_without_a_reward_moves_no_mean_and_makes_its_neighbours_better_known():
    rows, scores = some_rows(10), torch.randn(10, dtype=torch.float64)
    pending, new = some_rows(24)[10:12], some_rows(24)[12:]
    alone = gp.Posterior(some_parameters(), rows, scores, pending[:0], ONE_HOT).predict(new)
    beside = gp.Posterior(some_parameters(), rows, scores, pending, ONE_HOT).predict(new)
    torch.testing.assert_close(beside[0], alone[0])
    assert (beside[1] < alone[1]).all()


def test_a_decision_that_matters_gets_a_greater_weight_than_one_that_does_not():
    rows = some_rows(24)
    scores = gp.rank_scores(rows[:, 1].double() + 0.01 * rows[:, 0])
    weights = gp.fit(gp.first_parameters(3), rows, scores, ONE_HOT, 60)[:-1]
    assert weights[1] > weights[0] > weights[2]


def test_scores_know_ranks_only_and_equals_share_theirs():
    rewards = torch.tensor([0.1, 0.5, 0.0, 0.0, 0.9], dtype=torch.float64)
    scores = gp.rank_scores(rewards)
    assert torch.equal(scores, gp.rank_scores(rewards.exp()))
    normal = statistics.NormalDist()
    plain = torch.tensor([normal.inv_cdf(r / 5) for r in (2.5, 3.5, 1, 1, 4.5)])
    plain = (plain - plain.mean()) / plain.std(correction=0)
    torch.testing.assert_close(scores, plain.double(), rtol=1e-6, atol=1e-6)
    assert gp.rank_scores(torch.zeros(3)).tolist() == [0, 0, 0]


def test_expected_improvement_is_the_integral():
    mean, deviation, best = 0.3, 0.7, 0.5
    x = torch.linspace(best, mean + 8 * deviation, 200_001, dtype=torch.float64)
    density = torch.distributions.Normal(mean, deviation).log_prob(x).exp()
    integral = torch.trapezoid((x - best) * density, x)
    ours = gp.expected_improvement(
        torch.tensor([mean], dtype=torch.float64), torch.tensor([deviation**2]).double(), best
    )
    torch.testing.assert_close(ours[0], integral, rtol=1e-6, atol=0)


def test_among_the_first_children_each_choice_is_tried_equally_often():
    predictor = make_controller(PredictorConfig(batch=20, start=20), TableSpace((5, 4, 2)), seed=3)
    proposals = predictor.sample(0, 20, [])
    for t, choices in enumerate((5, 4, 2)):
        taken = [p.actions[t] for p in proposals]
        # one that the design has twice is changed
        assert all(abs(taken.count(c) - 20 / choices) <= 2 for c in range(choices))


def search(space, reward, *, batches, seed=0, batch=10, waits=0):
    """Children and their rewards; those of the newest ``waits`` batches are not known yet."""
    predictor = make_controller(PredictorConfig(batch=batch, pool=200), space, seed=seed)
    children = []
    for number in range(batches):
        known = len(children) - waits * batch
        there = [
            Proposed(p.actions, space.digest(p.actions), reward(p.actions) if n < known else None)
            for n, p in enumerate(children)
        ]
        if number > waits:
            learned = children[known - batch : known]
            predictor.update([Outcome(p.actions, p.log_probs, reward(p.actions)) for p in learned])
        children += predictor.sample(0, batch, there)
    return [p.actions for p in children]


@pytest.mark.parametrize("waits", [0, 2])
def test_it_finds_the_best_of_many_soon_also_while_others_are_still_trained(waits):
    wanted = (3, 1, 4, 1, 2, 0)
    space = TableSpace((5,) * 6)

    def reward(actions):
        return sum(a == w for a, w in zip(actions, wanted, strict=True)) / 6

    children = search(space, reward, batches=8, waits=waits)
    assert wanted in children  # 80 of 15,625
    assert len(set(children)) == len(children)


def test_a_batch_is_not_ten_times_the_same_change():
    """Each pick makes what is near it less interesting."""
    space = TableSpace((5,) * 6)
    children = search(space, lambda actions: -sum(actions), batches=3)[20:]
    apart = [sum(x != y for x, y in zip(a, b, strict=True)) for a in children for b in children]
    assert sum(apart) / (len(children) * (len(children) - 1)) > 1.5


def test_all_encodings_of_an_architecture_are_one_child_to_it():
    space = NASNetSpace(1)
    predictor = make_controller(PredictorConfig(batch=20, start=20), space, seed=0)
    proposals = predictor.sample(0, 20, [])
    actions = [p.actions for p in proposals]
    swapped = [(b, a, d, c, *rest) for a, b, c, d, *rest in actions]
    after = []
    for rows in (actions, swapped):
        other = make_controller(PredictorConfig(batch=20, start=20), space, seed=0)
        other.update([Outcome(tuple(row), (0.0,) * 10, n / 20) for n, row in enumerate(rows)])
        proposed = [Proposed(tuple(row), space.digest(row), n / 20) for n, row in enumerate(rows)]
        after.append((other.sample(0, 20, proposed), other.state_dict()["actions"]))
    assert after[0] == after[1]
    assert all(space.canonical(p.actions) == p.actions for p in after[0][0])


def test_rewards_that_no_update_has_learned_from_count_already():
    """In rolling mode they come while a version proposes."""
    space = TableSpace((5,) * 6)
    predictor = make_controller(PredictorConfig(batch=20, start=20), space, seed=0)
    proposals = predictor.sample(0, 20, [])

    def after(sign):
        there = [
            Proposed(p.actions, space.digest(p.actions), sign * sum(p.actions)) for p in proposals
        ]
        return [sum(p.actions) for p in predictor.sample(20, 20, there)]

    assert sum(after(1)) > sum(after(-1)) + 100


def test_what_is_remembered_are_the_best_half_and_the_newest():
    rewards = {(n,): float(n % 7) for n in range(20)}
    kept = _remembered(rewards, 8)
    assert list(kept) == [(5,), (6,), (12,), (13,), (16,), (17,), (18,), (19,)]
    assert _remembered(rewards, 20) == rewards
