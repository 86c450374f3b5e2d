"""PPO: the update, read against the papers, and the faults other implementations have."""

import subprocess
import sys

import pytest
import torch

from pipeline import controllers
from pipeline.config.controllers import PPOConfig, RandomConfig
from pipeline.controllers import Outcome, PolicyStateError, load_state, make_controller, save_state
from pipeline.spaces import Decision, NASNetSpace, Turn
from pipeline.spaces.cells.genotype import OPERATIONS

SPACE = NASNetSpace(2)


class OneChoice:
    """A space of a single decision between two."""

    decisions = (Decision("operation", 2),)
    turns = (Turn(decisions),)


def make_ppo(space=SPACE, seed=1, **config):
    return make_controller(PPOConfig(**{"batch": 10, "units": 8} | config), space, seed=seed)


def outcomes_of(proposals, reward=lambda proposal: (proposal.k % 7) / 7):
    return [Outcome(p.actions, p.log_probs, reward(p)) for p in proposals]


def weights_of(controller):
    return torch.cat([p.detach().flatten() for p in controller.policy.parameters()])


def log_probs_of(controller, outcomes):
    with torch.no_grad():
        rollout = controller.policy.score(torch.tensor([o.actions for o in outcomes]))
    return rollout.log_probs_NT


def test_the_first_ratio_is_exactly_one():
    """So the first step is the plain policy gradient, and nothing is clipped in it."""
    ppo = make_ppo()
    outcomes = outcomes_of(ppo.sample(0, 10, []))
    behaviour = torch.tensor([o.log_probs for o in outcomes], dtype=torch.float64)
    assert torch.equal(log_probs_of(ppo, outcomes), behaviour)


@pytest.mark.parametrize("kind", ["ppo", "random"])
def test_only_ppo_learns_to_prefer_a_rewarded_operation(kind):
    config = {
        "ppo": PPOConfig(batch=20, units=20, learning_rate=0.01),
        "random": RandomConfig(batch=20),
    }[kind]
    controller = make_controller(config, SPACE, seed=0)
    wanted = OPERATIONS.index("sep_conv_3x3")
    operations = [t for t, d in enumerate(SPACE.decisions) if d.kind == "operation"]

    def share(proposal):
        return sum(proposal.actions[t] == wanted for t in operations) / len(operations)

    for _ in range(60):
        controller.update(outcomes_of(controller.sample(0, 20, []), share))
    last = sum(map(share, controller.sample(0, 20, []))) / 20
    if kind == "ppo":
        assert last > 0.8
    else:
        assert last < 0.3  # 1 / 13 is expected


def test_a_rewarded_action_becomes_likelier_and_a_punished_one_less_likely():
    ppo = make_ppo(OneChoice(), batch=2, epochs=1, learning_rate=1e-3)
    before = ppo.policy.sample(torch.zeros(1, 1)).log_p_T_NC[0][0]
    ppo.update([Outcome((c,), (before[c].item(),), reward=float(c)) for c in (0, 1)])
    after = ppo.policy.sample(torch.zeros(1, 1)).log_p_T_NC[0][0]
    assert after[1] > before[1]
    assert after[0] < before[0]


def test_one_pass_is_one_adam_step_on_the_surrogate():
    """Written out once more, with the formula of arXiv:1707.06347, equation 7."""
    config = dict(epochs=1, entropy_weight=0.01)
    ppo, other = make_ppo(**config), make_ppo(**config)
    outcomes = outcomes_of(ppo.sample(0, 10, []))
    ppo.update(outcomes)

    mean = sum(o.reward for o in outcomes) / 10
    rollout = other.policy.score(torch.tensor([o.actions for o in outcomes]))
    objective = torch.zeros((), dtype=torch.float64)
    for n, outcome in enumerate(outcomes):
        for t, old in enumerate(outcome.log_probs):
            ratio = (rollout.log_probs_NT[n, t] - old).exp()
            advantage = outcome.reward - mean
            clipped = ratio.clamp(0.8, 1.2)
            objective = objective + torch.minimum(ratio * advantage, clipped * advantage)
            objective = objective + 0.01 * rollout.entropy_NT[n, t]
    (-objective / rollout.log_probs_NT.numel()).backward()
    torch.optim.Adam(other.policy.parameters(), lr=3.5e-4).step()
    torch.testing.assert_close(weights_of(ppo), weights_of(other), rtol=0, atol=1e-10)


def test_clip_is_honoured():
    def learned(clip):
        ppo = make_ppo(clip=clip, learning_rate=0.02)
        ppo.update(outcomes_of(ppo.sample(0, 10, [])))
        return weights_of(ppo)

    assert not torch.equal(learned(0.05), learned(0.2))
    assert torch.equal(learned(0.2), learned(0.2))


def test_an_action_outside_the_clip_range_pulls_no_further():
    """Reward above the baseline and a ratio above 1 + clip: the gradient is zero."""
    ppo = make_ppo(OneChoice(), batch=2, epochs=1, entropy_weight=0)
    log_prob = ppo.policy.score(torch.tensor([[0]])).log_probs_NT.item()
    ppo.baseline = 0.0
    before = weights_of(ppo)
    far = Outcome((0,), (log_prob - 1,), reward=1.0)  # its ratio is e
    ppo.update([far])
    assert torch.equal(weights_of(ppo), before)
    ppo.update([Outcome((0,), (log_prob - 1,), reward=-1.0)])  # back is always allowed
    assert not torch.equal(weights_of(ppo), before)


def test_the_ratio_is_taken_per_decision():
    """One decision far outside clips itself alone, not the child's other decisions."""
    ppo = make_ppo(epochs=1, entropy_weight=0)
    ppo.baseline = 0.0
    outcome = outcomes_of(ppo.sample(0, 1, []), lambda proposal: 1.0)[0]
    far = (outcome.log_probs[0] - 1, *outcome.log_probs[1:])
    diagnostics = ppo.update([Outcome(outcome.actions, far, 1.0)])
    assert diagnostics.clip_fraction == 1 / len(SPACE.decisions)
    gained = log_probs_of(ppo, [outcome]) - torch.tensor(outcome.log_probs, dtype=torch.float64)
    assert gained[0, 1:].sum() > 0


def test_behaviour_is_the_version_that_sampled_not_the_newest():
    """A late reward: its ratio starts away from 1, so the update is another."""
    fresh, late = make_ppo(learning_rate=0.01), make_ppo(learning_rate=0.01)
    outcomes = outcomes_of(fresh.sample(0, 10, []))
    for ppo in (fresh, late):
        ppo.update(outcomes_of(ppo.sample(10, 10, [])))
    now = log_probs_of(fresh, outcomes).tolist()
    rescored = [
        Outcome(o.actions, tuple(row), o.reward) for o, row in zip(outcomes, now, strict=True)
    ]
    fresh.update(rescored)
    late.update(outcomes)
    assert not torch.equal(weights_of(fresh), weights_of(late))


def test_the_first_baseline_is_the_mean_of_the_first_batch():
    ppo = make_ppo()
    outcomes = outcomes_of(ppo.sample(0, 10, []))
    diagnostics = ppo.update(outcomes)
    assert diagnostics.baseline == pytest.approx(sum(o.reward for o in outcomes) / 10)


def test_equal_rewards_of_a_first_batch_teach_nothing():
    ppo = make_ppo(entropy_weight=0)
    before = weights_of(ppo)
    ppo.update(outcomes_of(ppo.sample(0, 10, []), lambda proposal: 0.5))
    assert torch.equal(weights_of(ppo), before)


def test_the_baseline_moves_by_one_minus_decay():
    ppo = make_ppo(baseline_decay=0.9)
    ppo.update(outcomes_of(ppo.sample(0, 10, []), lambda proposal: 0.2))
    diagnostics = ppo.update(outcomes_of(ppo.sample(0, 10, []), lambda proposal: 0.7))
    assert diagnostics.baseline == pytest.approx(0.9 * 0.2 + 0.1 * 0.7)


def test_the_baseline_is_not_moved_by_the_rewards_it_is_subtracted_from():
    """With decay 0 a baseline that moved first would take every advantage away."""
    ppo = make_ppo(baseline_decay=0, entropy_weight=0)
    ppo.update(outcomes_of(ppo.sample(0, 10, []), lambda proposal: 0.0))
    outcomes = outcomes_of(ppo.sample(0, 10, []), lambda proposal: 1.0)
    before = log_probs_of(ppo, outcomes)
    diagnostics = ppo.update(outcomes)
    assert diagnostics.baseline == 1.0
    assert (log_probs_of(ppo, outcomes) - before).sum() > 0  # the advantage was 1, not 0


def test_the_entropy_bonus_makes_the_policy_more_even():
    def entropy(weight):
        ppo = make_ppo(entropy_weight=weight, learning_rate=0.01, init=1.0, epochs=10)
        return ppo.update(outcomes_of(ppo.sample(0, 10, []), lambda proposal: 0.5)).entropy

    assert entropy(1.0) > entropy(0.0)


def test_duplicates_in_a_batch_count_each():
    ppo, other = make_ppo(), make_ppo()
    outcomes = outcomes_of(ppo.sample(0, 4, []))
    ppo.update(outcomes + outcomes)
    other.update(outcomes)
    # a mean over twice the same children is the mean over them
    torch.testing.assert_close(weights_of(ppo), weights_of(other), rtol=0, atol=1e-10)
    again = make_ppo()
    again.update([*outcomes, outcomes[3], outcomes[3]])
    assert not torch.allclose(weights_of(again), weights_of(other), rtol=0, atol=1e-6)


def test_a_batch_may_be_smaller_or_larger_than_the_configured_one():
    ppo = make_ppo()
    proposals = ppo.sample(0, 13, [])
    ppo.update(outcomes_of(proposals[:1]))
    ppo.update(outcomes_of(proposals))
    assert ppo.version == 2


def test_diagnostics_say_what_the_update_did():
    ppo = make_ppo(learning_rate=0.01, clip=0.05)
    outcomes = outcomes_of(ppo.sample(0, 10, []))
    diagnostics = ppo.update(outcomes)
    with torch.no_grad():
        after = ppo.policy.score(torch.tensor([o.actions for o in outcomes]))
    ratio_NT = (
        after.log_probs_NT - torch.tensor([o.log_probs for o in outcomes], dtype=torch.float64)
    ).exp()
    assert diagnostics.entropy == pytest.approx(after.entropy_NT.sum().item() / 10)
    assert diagnostics.clip_fraction == ((ratio_NT - 1).abs() > 0.05).double().mean().item() > 0
    assert diagnostics.kl == pytest.approx((ratio_NT - 1 - ratio_NT.log()).sum().item() / 10)
    assert diagnostics.kl > 0
    for t, (row, decision) in enumerate(
        zip(diagnostics.probabilities, SPACE.decisions, strict=True)
    ):
        assert len(row) == decision.choices
        assert sum(row) == pytest.approx(1)
        assert row == pytest.approx(after.log_p_T_NC[t].exp().mean(0).tolist())


def test_the_loss_is_that_of_the_last_pass():
    def losses(epochs):
        ppo = make_ppo(epochs=epochs, learning_rate=0.01)
        return ppo.update(outcomes_of(ppo.sample(0, 10, []))).loss

    assert losses(1) > losses(2) > losses(3)


def test_an_empty_batch_has_no_diagnostics_but_the_baseline():
    ppo = make_ppo()
    assert ppo.update([]) == controllers.Diagnostics()
    ppo.update(outcomes_of(ppo.sample(0, 10, []), lambda proposal: 0.25))
    assert ppo.update([]) == controllers.Diagnostics(baseline=0.25)


def test_a_damaged_weight_is_not_loaded():
    """torch.load itself checks no sums: it would take the turned bit for the weight."""
    ppo = make_ppo()
    blob = bytearray(save_state(ppo))
    content = ppo.policy.start_1H.detach().numpy().tobytes()
    blob[blob.index(content)] ^= 1
    with pytest.raises(PolicyStateError, match="is damaged"):
        load_state(ppo, bytes(blob))


def test_a_state_of_another_size_is_refused():
    with pytest.raises(PolicyStateError, match="cannot be read"):
        load_state(make_ppo(units=8), save_state(make_ppo(units=9)))


def test_another_process_saves_the_same_bytes():
    """Whatever the hash seed: two workers that make one version make the same."""
    code = """
import sys, torch
from pipeline.config.controllers import PPOConfig
from pipeline.controllers import Outcome, make_controller, save_state
from pipeline.spaces import NASNetSpace
torch.set_num_threads(1)
ppo = make_controller(PPOConfig(batch=10, units=8), NASNetSpace(2), seed=1)
proposals = ppo.sample(0, 10, [])
ppo.update([Outcome(p.actions, p.log_probs, (p.k % 7) / 7) for p in proposals])
sys.stdout.buffer.write(save_state(ppo))
"""
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    ppo = make_ppo()
    ppo.update(outcomes_of(ppo.sample(0, 10, [])))
    assert elsewhere.stdout == save_state(ppo)
