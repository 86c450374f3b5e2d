"""REINFORCE, read against arXiv:1611.01578, and what small budgets add to it and to PPO."""

import math

import pytest
import torch

from benchmarks.tables import TableSpace
from pipeline.config.controllers import PPOConfig, ReinforceConfig, SkipPriorConfig
from pipeline.config.search import load_config, make_config
from pipeline.config.tables import read_preset
from pipeline.controllers import Outcome, Proposed, make_controller
from pipeline.spaces import NASNetSpace, make_space
from pipeline.spaces.macro.config import MacroSpaceConfig

SPACE = NASNetSpace(1)
OneDecision = TableSpace((2,))


def make(space=SPACE, seed=1, **config):
    return make_controller(
        ReinforceConfig(**({"batch": 8, "units": 8} | config)), space, seed=seed
    )


def outcomes_of(proposals, reward=lambda proposal: (proposal.k % 7) / 7):
    return [Outcome(p.actions, p.log_probs, reward(p)) for p in proposals]


def weights_of(controller):
    return torch.cat([p.detach().flatten() for p in controller.policy.parameters()])


def test_its_defaults_are_the_paper_s():
    config = make_config({"controller": {"name": "reinforce"}}).controller
    assert (config.layers, config.units, config.init) == (2, 35, 0.08)
    assert (config.learning_rate, config.batch, config.entropy_weight) == (6e-4, 8, 0.0)
    assert config.repeats
    assert config.advantage == "baseline"


def test_an_update_is_one_adam_step_on_log_probability_times_advantage():
    """Written out once more, with equation 4."""
    ours, other = make(), make()
    outcomes = outcomes_of(ours.sample(0, 8, []))
    ours.baseline = 0.25
    diagnostics = ours.update(outcomes)
    rollout = other.policy.score(torch.tensor([o.actions for o in outcomes]))
    loss = torch.zeros((), dtype=torch.float64)
    for n, outcome in enumerate(outcomes):
        loss = loss - (outcome.reward - 0.25) * rollout.log_probs_NT[n].sum()
    (loss / rollout.log_probs_NT.numel()).backward()
    torch.optim.Adam(other.policy.parameters(), lr=6e-4).step()
    torch.testing.assert_close(weights_of(ours), weights_of(other), rtol=0, atol=1e-10)
    mean = sum(o.reward for o in outcomes) / 8
    assert diagnostics.baseline == pytest.approx(0.95 * 0.25 + 0.05 * mean)
    assert diagnostics.clip_fraction is None


def test_a_late_reward_is_not_corrected_for():
    """The paper's replicas send gradients of whatever weights they had."""
    fresh, late = make(), make()
    outcomes = outcomes_of(fresh.sample(0, 8, []))
    fresh.update(outcomes)
    late.update([Outcome(o.actions, (-9.0,) * len(o.log_probs), o.reward) for o in outcomes])
    assert torch.equal(weights_of(fresh), weights_of(late))


def test_an_advantage_by_rank_knows_no_scale():
    def learned(scale):
        controller = make(advantage="rank", learning_rate=0.01)
        for _ in range(2):
            proposals = controller.sample(0, 8, [])
            controller.update(outcomes_of(proposals, lambda p: math.exp(scale * (p.k % 7))))
        return weights_of(controller)

    assert torch.equal(learned(0.1), learned(2))
    assert not torch.equal(learned(0.1), learned(-0.1))


def test_a_rank_is_the_share_of_all_rewards_that_are_not_better():
    controller = make(OneDecision, advantage="rank")
    advantage = controller._advantage(torch.tensor([0.5, 0.1, 0.5, 0.9], dtype=torch.float64))
    assert advantage.tolist() == [0.5, -0.5, 0.5, 1.0]
    advantage = controller._advantage(torch.tensor([0.5, 1.0], dtype=torch.float64))
    assert advantage.tolist() == [pytest.approx(2 * 4 / 6 - 1), 1.0]


def test_the_best_children_are_imitated_each_once():
    config = {"imitation_weight": 1.0, "imitated": 2, "learning_rate": 0.01}
    space = TableSpace((3, 3))
    controller = make(space, **config)
    rows = {(0, 0): 0.2, (1, 1): 0.9, (2, 2): 0.5, (0, 1): 0.9}
    outcomes = [Outcome(row, (-1.0, -1.0), reward) for row, reward in rows.items()]
    controller.update([*outcomes, *outcomes])
    assert [(reward, actions) for reward, _, actions in controller.best] == [
        (0.9, (1, 1)),
        (0.9, (0, 1)),
    ]
    before = controller.policy.score(torch.tensor([(1, 1), (2, 2)])).log_probs_NT.sum(1)
    for _ in range(20):  # of the batch itself nothing can be learned
        controller.baseline = 0.2
        controller.update([outcomes[0]])
    after = controller.policy.score(torch.tensor([(1, 1), (2, 2)])).log_probs_NT.sum(1)
    assert after[0] > before[0]
    assert after[1] < before[1]


@pytest.mark.parametrize("config", [PPOConfig, ReinforceConfig])
def test_the_log_probabilities_of_a_child_without_repeats_are_the_policy_s_own(config):
    """Drawn anew, more evenly, or changed: an update compares them with the policy."""
    space = TableSpace((2, 2, 2))
    controller = make_controller(
        config(preset="small-budget", batch=8, units=8, init=3.0), space, seed=1
    )
    proposals = controller.sample(0, 8, [])
    assert len({p.actions for p in proposals}) == 8
    alone = [controller.policy.score(torch.tensor([p.actions])) for p in proposals]
    for proposal, rollout in zip(proposals, alone, strict=True):
        assert proposal.log_probs == pytest.approx(rollout.log_probs_NT[0].tolist(), abs=1e-12)


def test_the_first_draw_is_that_of_a_policy_that_may_repeat():
    space = TableSpace((9,) * 6)
    plain, without = (make(space, repeats=repeats) for repeats in (True, False))
    assert without.sample(0, 8, []) == pytest.approx(plain.sample(0, 8, []))
    first, *_ = plain.sample(0, 8, [])
    again = without.sample(0, 8, [Proposed(first.actions, space.digest(first.actions), None)])
    assert again[0].actions != first.actions
    assert again[1].actions == plain.sample(0, 8, [])[1].actions


def test_a_written_key_goes_before_the_preset_s_and_the_whole_survives_its_storage():
    tables = {"controller": {"name": "ppo", "preset": "small-budget", "epochs": 2}}
    config = make_config(tables)
    assert (config.controller.epochs, config.controller.repeats) == (2, False)
    assert config.controller.learning_rate == PPOConfig(preset="small-budget").learning_rate
    assert load_config(config.model_dump(mode="json")) == config


def test_a_policy_of_an_older_release_is_read():
    """Its state has neither rewards nor best children."""
    controller = make_controller(PPOConfig(batch=8, units=8), SPACE, seed=1)
    assert controller.state_dict().keys() == {"version", "baseline", "policy", "optimizer"}


def test_the_released_enas_controller_s_baseline_begins_at_zero_and_moves_first():
    """general_controller.py: build_trainer, "baseline_update" stands before the loss."""
    controller = make(OneDecision, baseline_moves="before", baseline_decay=0.9)
    reward = torch.tensor([0.4, 0.8], dtype=torch.float64)
    advantage = controller._advantage(reward)
    assert controller.baseline == pytest.approx(0.1 * 0.6)
    torch.testing.assert_close(advantage, reward - 0.06)


def test_entropy_in_the_reward_is_that_of_what_was_chosen():
    """general_controller.py: reward += entropy_weight * sum of -log p, without gradient."""
    ours = make(OneDecision, entropy_in="reward", entropy_weight=0.5, baseline_decay=0.0)
    other = make(OneDecision, entropy_in="loss", entropy_weight=0.0, baseline_decay=0.0)
    proposals = ours.sample(0, 8, [])
    outcomes = outcomes_of(proposals)
    ours.update(outcomes)
    other.update([Outcome(o.actions, o.log_probs, o.reward - 0.5 * sum(o.log_probs))
                  for o in outcomes])  # fmt: skip
    assert torch.equal(weights_of(ours), weights_of(other))
    assert ours.baseline == other.baseline


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        # of the probabilities that were taken, 1/2 and 1/4
        pytest.param("surprise", math.log(2) + math.log(4), id="-log p"),
        pytest.param("chosen", math.log(2) / 2 + math.log(4) / 4, id="-p log p: macro code"),
        # of the policy's two decisions of 2 and 5 choices, which with zero weights are even
        pytest.param("whole", math.log(2) + math.log(5), id="all of it: micro code"),
    ],
)
def test_the_entropy_of_a_reward_is_one_of_three(which, expected):
    space = TableSpace((2, 5))
    config = {"entropy_weight": 0.5, "baseline_decay": 0.0, "baseline_moves": "after"}
    ours = make(space, entropy_in="reward", reward_entropy=which, **config)
    with torch.no_grad():
        for weight in ours.policy.parameters():
            weight.zero_()
    outcome = Outcome((1, 3), (math.log(1 / 2), math.log(1 / 4)), 0.3)
    assert ours.update([outcome]).baseline == pytest.approx(0.3 + 0.5 * expected)


def test_entropy_is_of_the_decisions_that_were_taken_where_a_space_grows():
    space = TableSpace((2, 5))
    taken = [Outcome((1, 3), (-1.0, -2.0), 0.0), Outcome((0,), (-3.0,), 0.0)]

    def earned(which):
        controller = make(space, entropy_in="reward", reward_entropy=which)
        with torch.no_grad():
            for weight in controller.policy.parameters():
                weight.zero_()
        behaviour = torch.tensor([[-1.0, -2.0], [-3.0, 0.0]], dtype=torch.float64)
        return controller._reward_entropy(taken, behaviour).tolist()

    assert earned("surprise") == [3.0, 3.0]
    assert earned("chosen") == pytest.approx([math.exp(-1) + 2 * math.exp(-2), 3 * math.exp(-3)])
    assert earned("whole") == pytest.approx([math.log(10), math.log(2)])


def test_each_child_moves_the_baseline_before_its_advantage():
    """general_controller.py and micro_controller.py: every sampled child runs baseline_update."""
    controller = make(OneDecision, baseline_moves="each", baseline_decay=0.9)
    advantage = controller._advantage(torch.tensor([0.4, 0.8], dtype=torch.float64))
    after = [0.1 * 0.4, 0.9 * 0.1 * 0.4 + 0.1 * 0.8]
    assert advantage.tolist() == pytest.approx([0.4 - after[0], 0.8 - after[1]])
    assert controller.baseline == pytest.approx(after[1])
    again = make(OneDecision, baseline_moves="each", baseline_decay=0.9)
    again.load_state_dict(controller.state_dict())
    assert again._advantage(torch.tensor([0.5], dtype=torch.float64)).tolist() == pytest.approx(
        [0.5 - (0.9 * after[1] + 0.1 * 0.5)]
    )


def released_macro_loss(policy, actions, advantage, layers):
    """Of one child, as general_controller.py adds it up, step by step: all is summed but layers.

    The policy's weights are read, and nothing else of it.
    """
    cell, attention, anchors = policy.cells[0], policy.attention, []
    taken, log_prob, penalties = iter(actions), 0.0, []
    state, x = None, policy.start_1H

    def squashed(logits):
        return 1.5 * torch.tanh(logits)

    for layer in range(layers):
        state = cell(x, state)
        operation = next(taken)
        logits = squashed(state[0] @ policy.heads["operation"].weight.t())[0]
        log_prob = log_prob - logits.log_softmax(0)[operation]
        state = cell(policy.embeddings["operation"].weight[operation][None], state)
        x = policy.start_1H
        if layer:
            keys = torch.cat([attention.anchor(h) for h in anchors])
            query = attention.score((keys + attention.state(state[0])).tanh())  # (layer, 1)
            logits = squashed(torch.cat([-query, query], 1))
            skips = torch.tensor([next(taken) for _ in range(layer)])
            log_prob = log_prob - logits.log_softmax(1)[torch.arange(layer), skips].sum()
            p = torch.sigmoid(logits)
            penalties.append((p * (p / torch.tensor([0.6, 0.4])).log()).sum())
            x = (skips[:, None] * torch.cat(anchors)).sum(0, keepdim=True) / (1 + skips.sum())
        anchors.append(state[0])
    return log_prob * advantage + 0.8 * torch.stack(penalties).mean()


def test_the_macro_code_preset_takes_the_released_controller_s_step():
    """melodyguan/enas: general_controller.py, one update of 20 children, written out once more."""
    search = make_config(read_preset("enas-macro-cifar10-code"))
    space = make_space(search.space)
    ours, other = (make_controller(search.controller, space, seed=3) for _ in range(2))
    outcomes = outcomes_of(ours.sample(0, 20, []))
    ours.update(outcomes)
    loss, baseline = 0.0, 0.0
    for outcome in outcomes:
        minus_log_p = -torch.tensor(outcome.log_probs, dtype=torch.float64)
        reward = outcome.reward + 1e-4 * (minus_log_p * torch.exp(-minus_log_p)).sum().item()
        baseline -= (1 - 0.99) * (baseline - reward)
        child = released_macro_loss(other.policy, outcome.actions, reward - baseline, 12)
        loss = loss + child / len(outcomes)
    parameters = list(other.policy.parameters())
    loss.backward()
    assert len(parameters) == 8  # the heads have no bias, nor have the gates
    epsilon = 78 * 1.28e-5  # the preset's, of a mean over the decisions
    assert epsilon == pytest.approx(1e-3, rel=0.002)
    torch.optim.Adam(parameters, lr=1e-3, betas=(0.0, 0.999), eps=epsilon).step()
    torch.testing.assert_close(weights_of(ours), weights_of(other), rtol=0, atol=1e-9)
    assert ours.baseline == pytest.approx(baseline)


def test_the_prior_is_thirteen_times_weaker_by_layers_than_by_skips():
    """(78 / 66) / (1 / 11): a mean of 66 divergences beside a mean of 78 log-probabilities."""
    space = make_space(MacroSpaceConfig(name="enas-macro"))

    def gradient(**prior):
        controller = make(space, skip_prior=SkipPriorConfig(rho=0.4, weight=0.8, **prior))
        outcomes = outcomes_of(controller.sample(0, 8, []), lambda _: 0.0)
        controller.baseline = 0.0
        controller.update(outcomes)
        return torch.cat([p.grad.flatten() for p in controller.policy.parameters()])

    torch.testing.assert_close(gradient(per="skip"), 13 * gradient(per="layer"))


def test_a_prior_by_layers_counts_the_layers_that_a_child_has():
    """Where a space grows: each child's sums over its own layers, beside all decisions' mean."""
    space = make_space(MacroSpaceConfig(name="enas-macro", layers=4))
    prior = SkipPriorConfig(rho=0.4, weight=1.0, per="layer")
    controller = make(space, skip_prior=prior)
    # layers of 1, 2, 3, 4 decisions; the second child has the first three
    far = torch.tensor([[0, 0, 1, 0, 2, 3, 0, 4, 5, 6]] * 2, dtype=torch.float64)
    taken = torch.tensor([[True] * 10, [True] * 6 + [False] * 4])
    found = controller._from_prior(far, taken)
    assert found.item() == pytest.approx((21 / 3 + 6 / 2) / 16)


def test_adam_is_the_one_that_was_asked_for():
    group = make(adam_beta1=0.0, adam_epsilon=1e-3).optimizer.param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.0, 0.999), 1e-3)
