"""REINFORCE, read against arXiv:1611.01578, and what small budgets add to it and to PPO."""

import math

import pytest
import torch

from pipeline.config import load_config, make_config
from pipeline.config_controllers import PPOConfig, ReinforceConfig
from pipeline.controllers import Outcome, Proposed, make_controller
from pipeline.spaces import NASNetSpace, TableSpace

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
    """macro_controller.py: build_trainer, "baseline_update" stands before the loss."""
    controller = make(OneDecision, baseline_moves="before", baseline_decay=0.9)
    reward = torch.tensor([0.4, 0.8], dtype=torch.float64)
    advantage = controller._advantage(reward)
    assert controller.baseline == pytest.approx(0.1 * 0.6)
    torch.testing.assert_close(advantage, reward - 0.06)


def test_entropy_in_the_reward_is_that_of_what_was_chosen():
    """macro_controller.py: reward += entropy_weight * sum of -log p, without gradient."""
    ours = make(OneDecision, entropy_in="reward", entropy_weight=0.5, baseline_decay=0.0)
    other = make(OneDecision, entropy_in="loss", entropy_weight=0.0, baseline_decay=0.0)
    proposals = ours.sample(0, 8, [])
    outcomes = outcomes_of(proposals)
    ours.update(outcomes)
    other.update([Outcome(o.actions, o.log_probs, o.reward - 0.5 * sum(o.log_probs))
                  for o in outcomes])  # fmt: skip
    assert torch.equal(weights_of(ours), weights_of(other))
    assert ours.baseline == other.baseline


def test_adam_is_the_one_that_was_asked_for():
    group = make(adam_beta1=0.0, adam_epsilon=1e-3).optimizer.param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.0, 0.999), 1e-3)
