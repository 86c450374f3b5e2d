"""The LSTM policy, and the numbers it is given."""

import math

import numpy as np
import pytest
import torch

from pipeline.config.controllers import BiasConfig, PolicyConfig, SkipPriorConfig, SquashConfig
from pipeline.controllers.policy import LSTMPolicy
from pipeline.controllers.uniforms import uniforms
from pipeline.spaces import (
    Anchor,
    Decision,
    MacroSpace,
    MicroSpace,
    NASNetSpace,
    NextInput,
    Score,
    Turn,
)
from pipeline.spaces.cells.config import MicroSpaceConfig
from pipeline.spaces.macro.config import MacroSpaceConfig

SPACE = NASNetSpace(5)
TINY = (
    Turn((Decision("operation", 3),)),
    Turn((Decision("operation", 3), Decision("skip", 2))),  # two decisions of one hidden state
    Turn((Decision("skip", 2),)),
)


def skip_turns(layers):
    """A layer: an operation, then a skip for each layer before it (as NAS and ENAS macro)."""
    for layer in range(layers):
        yield Turn((Decision("operation", 3),))
        skips = tuple(Decision("skip", 2, Score.SKIP, (j,)) for j in range(layer))
        yield Turn(skips, NextInput.MEAN if skips else NextInput.START, Anchor.HIDDEN)


def pointer_turns(blocks):
    """A cell: two inputs, then blocks of two pointers and two operations (as ENAS micro)."""
    yield from (Turn((), NextInput.START, Anchor.KEY),) * 2
    for block in range(blocks):
        anchors = tuple(range(block + 2))
        pointer = Decision("input", len(anchors), Score.POINTER, anchors)
        yield from (Turn((pointer,), NextInput.CHOSEN),) * 2
        operation = Decision("operation", 3, offset=(0.25, 0.25, -0.25))
        yield from (Turn((operation,)),) * 2
        yield Turn((), NextInput.START, Anchor.HIDDEN)


SKIPS = tuple(skip_turns(4))
POINTERS = tuple(pointer_turns(2))
MACRO = MacroSpace(MacroSpaceConfig(name="enas-macro")).turns
MICRO = MicroSpace(MicroSpaceConfig(name="enas-micro")).turns


def make_policy(turns=SPACE.turns, units=100, layers=1, init=0.1, seed=0, **more):
    return LSTMPolicy(
        turns, PolicyConfig(units=units, layers=layers, init=init, **more), seed=seed
    )


def numbers(count, decisions, seed=0):
    return torch.from_numpy(uniforms(seed, 0, "policy", range(count), decisions))


def choices_of(turns):
    return [decision.choices for turn in turns for decision in turn.decisions]


def test_the_paper_s_policy_has_87935_parameters():
    lstm = 4 * 100 * (100 + 100) + 2 * 4 * 100  # torch's two biases a gate
    choices = (2 + 3 + 4 + 5 + 6) + 13 + 2  # of the seven kinds
    heads_and_embeddings = choices * (100 + 1) + choices * 100
    expected = lstm + heads_and_embeddings + 100  # the start vector
    assert sum(p.numel() for p in make_policy().parameters()) == expected == 87_935


@pytest.mark.parametrize(
    ("turns", "known"),
    [(MACRO, {100: 102_206, 64: 41_862}), (MICRO, {100: 102_005, 64: 41_733})],
    ids=["macro", "micro"],
)
def test_enas_policies_have_the_parameters_that_are_counted_by_hand(turns, known):
    """The released code has 64 units and no gate biases; its macro head has no bias either."""
    choices = 6 if turns is MACRO else 5
    for units, expected in known.items():
        bias = units == 100
        lstm = 4 * units * 2 * units + bias * 2 * 4 * units
        attention = 2 * units * units + units
        head_and_embedding = choices * (units + 1) + choices * units
        assert expected == lstm + attention + head_and_embedding + units
        policy = make_policy(turns, units=units, bias=bias)
        assert sum(p.numel() for p in policy.parameters()) == expected
        without = make_policy(turns, units=units, bias=bias, head_bias=False)
        assert sum(p.numel() for p in without.parameters()) == expected - choices


def test_weights_are_drawn_between_minus_and_plus_init():
    weights = torch.cat([p.detach().flatten() for p in make_policy(init=0.03).parameters()])
    assert weights.dtype == torch.float64
    assert weights.abs().max() <= 0.03
    assert weights.abs().mean().item() == pytest.approx(0.015, rel=0.05)


def test_another_seed_draws_other_weights():
    first, again, other = make_policy(seed=1), make_policy(seed=1), make_policy(seed=2)
    assert torch.equal(first.start_1H, again.start_1H)
    assert not torch.equal(first.start_1H, other.start_1H)


def test_a_kind_with_two_numbers_of_choices_is_refused():
    with pytest.raises(ValueError, match="input: 2 and 3 choices"):
        make_policy([Turn((Decision("input", 2),)), Turn((Decision("input", 3),))])


@pytest.mark.parametrize(
    "turns",
    [SPACE.turns, TINY, SKIPS, POINTERS, MACRO, MICRO],
    ids=["nasnet", "tiny", "skips", "pointers", "macro", "micro"],
)
@pytest.mark.parametrize("layers", [1, 2])
def test_sampled_and_scored_log_probabilities_are_bit_equal(turns, layers):
    policy = make_policy(turns, layers=layers)
    sampled = policy.sample(numbers(20, len(choices_of(turns))))
    with_gradients = policy.score(sampled.actions_NT)
    with torch.no_grad():
        without = policy.score(sampled.actions_NT)
    assert with_gradients.log_probs_NT.requires_grad
    assert not sampled.log_probs_NT.requires_grad
    for scored in (with_gradients, without):
        assert torch.equal(scored.log_probs_NT, sampled.log_probs_NT)
        assert torch.equal(scored.entropy_NT, sampled.entropy_NT)


def zeroed(policy):
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
    return policy


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    "turns", [TINY, SKIPS, MACRO, MICRO], ids=["tiny", "skips", "macro", "micro"]
)
def test_all_zero_weights_are_the_uniform_policy(turns, layers):
    count = len(choices_of(turns))
    rollout = zeroed(make_policy(turns, layers=layers)).sample(numbers(6, count))
    log_choices = torch.tensor([math.log(n) for n in choices_of(turns)], dtype=torch.float64)
    torch.testing.assert_close(rollout.log_probs_NT, -log_choices.expand(6, count))
    torch.testing.assert_close(rollout.entropy_NT, log_choices.expand(6, count))


@pytest.mark.parametrize("turns", [SKIPS, MACRO], ids=["skips", "macro"])
def test_the_prior_of_an_undecided_skip_has_its_closed_form(turns):
    """0.5 log(0.5 / rho) + 0.5 log(0.5 / (1 - rho)), and nothing for what is no skip."""
    prior = SkipPriorConfig(rho=0.4, weight=0.8)
    is_skip = torch.tensor([d.score is Score.SKIP for turn in turns for d in turn.decisions])
    rollout = zeroed(make_policy(turns, skip_prior=prior)).sample(numbers(2, len(is_skip)))
    expected = 0.5 * math.log(0.5 / 0.4) + 0.5 * math.log(0.5 / 0.6)
    assert expected == pytest.approx(0.02041, abs=1e-5)
    torch.testing.assert_close(
        rollout.prior_NT, (expected * is_skip.double()).expand(2, -1), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("of", ["drawn", "logit"])
@pytest.mark.parametrize("symmetric", [False, True], ids=["paper", "code"])
def test_the_divergence_is_that_of_what_is_drawn_or_of_the_logit_s_sigmoid(of, symmetric):
    """Both are one where a skip is drawn with sigmoid(q); the code draws with sigmoid(2q)."""
    policy = make_policy(
        tuple(skip_turns(2)),
        init=1.0,
        symmetric_skip=symmetric,
        skip_prior=SkipPriorConfig(rho=0.4, weight=0.8, of=of),
    )
    rollout = policy.score(torch.tensor([[0, 1, 0], [2, 0, 1]]))
    drawn_N = rollout.log_p_T_NC[2][:, 1].exp()
    twice = symmetric and of == "logit"
    p_N = (drawn_N.logit() / 2).sigmoid() if twice else drawn_N
    bernoulli = torch.distributions.Bernoulli
    rho_N = torch.full_like(p_N, 0.4)
    expected_N = torch.distributions.kl_divergence(bernoulli(p_N), bernoulli(rho_N))
    torch.testing.assert_close(rollout.prior_NT[:, 2].detach(), expected_N)


@pytest.mark.parametrize("symmetric", [False, True], ids=["paper", "code"])
def test_a_skip_is_a_sigmoid_of_attention_to_its_anchor(symmetric):
    """sigmoid(v' tanh(W1 h_j + W2 h_i)); of twice that in ENAS' released code."""
    policy = make_policy(tuple(skip_turns(2)), units=5, init=1.0, symmetric_skip=symmetric)
    actions_NT = policy.sample(numbers(3, 3)).actions_NT
    lstm, attention = policy.cells[0], policy.attention
    start_NH = policy.start_1H.expand(3, -1)
    h, c = lstm(start_NH)
    first, c = lstm(policy.embeddings["operation"](actions_NT[:, 0]), (h, c))
    h, c = lstm(start_NH, (first, c))
    second, c = lstm(policy.embeddings["operation"](actions_NT[:, 1]), (h, c))
    q_N = attention.score((attention.anchor(first) + attention.state(second)).tanh())[:, 0]
    p_N = (2 * q_N if symmetric else q_N).sigmoid()
    taken_N = policy.score(actions_NT).log_p_T_NC[2][:, 1].exp()
    torch.testing.assert_close(taken_N, p_N.detach())


def test_after_skips_the_mean_of_the_anchors_taken_is_fed():
    policy = make_policy(tuple(skip_turns(3)), units=5, init=1.0)
    actions_NT = torch.tensor([[0, 1, 1, 2, 0, 0], [0, 1, 0, 2, 0, 0]])  # taken or not: layer 1
    lstm = policy.cells[0]
    fed = policy.embeddings["operation"]
    hidden, state = [], None
    x_NH = policy.start_1H.expand(2, -1)
    for layer, column in enumerate((0, 1)):
        state = lstm(x_NH, state)
        state = lstm(fed(actions_NT[:, column]), state)
        hidden.append(state[0])
        taken_N1 = actions_NT[:, 2:3]
        x_NH = policy.start_1H if layer == 0 else taken_N1 * hidden[0] / (1 + taken_N1)
        x_NH = x_NH.expand(2, -1)
    h_NH = lstm(x_NH, state)[0]
    expected = policy.heads["operation"](h_NH).log_softmax(-1)
    torch.testing.assert_close(policy.score(actions_NT).log_p_T_NC[3], expected.detach())


def test_what_is_fed_after_a_pointer_is_the_anchor_and_zeros_for_an_input():
    policy = make_policy(POINTERS, units=5, init=1.0)
    rollout = policy.score(torch.tensor([[0, 1, 2, 0, 1, 2, 0, 0], [1, 0, 2, 0, 1, 2, 0, 0]]))
    # block 0 reads the two inputs alone, and zeros are fed for either: what follows is alike
    for t in range(1, 8):
        torch.testing.assert_close(rollout.log_p_T_NC[t][0], rollout.log_p_T_NC[t][1])
    later = policy.score(torch.tensor([[0, 1, 2, 0, 0, 2, 0, 0], [0, 1, 2, 0, 2, 2, 0, 0]]))
    assert not torch.allclose(later.log_p_T_NC[5][0], later.log_p_T_NC[5][1])


def test_logits_are_squashed_before_the_fixed_offset_is_added():
    squash = [SquashConfig(kind="operation", temperature=5.0, constant=2.5)]
    policy = make_policy(POINTERS, squash=squash)
    zeroed(policy)
    with torch.no_grad():
        policy.heads["operation"].bias.copy_(torch.tensor([10.0, 10.0, 0.0]))
    log_p_C = policy.sample(numbers(1, 8)).log_p_T_NC[2][0]
    high = 2.5 * math.tanh(10 / 5) + 0.25
    logits = torch.tensor([high, high, -0.25], dtype=torch.float64)
    torch.testing.assert_close(log_p_C, logits.log_softmax(-1))


def test_the_offset_of_the_released_code_is_the_normal_cell_s_alone():
    """With all weights zero: log(sum of exp of the offsets) - offset, as +-0.25 are logits."""
    turns = MicroSpace(MicroSpaceConfig(name="enas-micro", blocks=1, operation_offset=0.25)).turns
    rollout = zeroed(make_policy(turns)).score(torch.zeros(1, 8, dtype=torch.long))
    total = 2 * math.exp(0.25) + 3 * math.exp(-0.25)
    normal, reduction = 0.25 - math.log(total), -math.log(5)
    expected = [-math.log(2)] * 2 + [normal] * 2 + [-math.log(2)] * 2 + [reduction] * 2
    torch.testing.assert_close(
        rollout.log_probs_NT[0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_a_head_begins_with_the_biases_that_were_asked_for():
    policy = make_policy(TINY, bias_init=[BiasConfig(kind="operation", values=[10.0, 0.0, -1.0])])
    assert policy.heads["operation"].bias.tolist() == [10.0, 0.0, -1.0]


@pytest.mark.parametrize("layers", [1, 2])
def test_the_first_turns_are_a_policy_of_their_own(layers):
    """A search whose depth grows keeps its weights: fewer numbers draw the first layers."""
    policy = make_policy(tuple(skip_turns(6)), layers=layers)
    whole = policy.sample(numbers(20, 6 + 15))
    part = policy.sample(numbers(20, 4 + 6))
    assert torch.equal(part.actions_NT, whole.actions_NT[:, :10])
    assert torch.equal(part.log_probs_NT, policy.score(part.actions_NT).log_probs_NT)
    torch.testing.assert_close(part.log_probs_NT, whole.log_probs_NT[:, :10], rtol=0, atol=1e-14)


def test_entropy_is_of_the_distribution_not_of_the_chosen_action():
    rollout = make_policy(TINY, init=0.3).sample(numbers(9, 4))
    for t, log_p_NC in enumerate(rollout.log_p_T_NC):
        whole_N = torch.distributions.Categorical(logits=log_p_NC).entropy()
        torch.testing.assert_close(rollout.entropy_NT[:, t], whole_N)
    first = rollout.entropy_NT[:, 0]  # nothing comes before it: alike, whatever was chosen
    assert len(rollout.actions_NT[:, 0].unique()) > 1
    torch.testing.assert_close(first, first[:1].expand(9))


def test_log_probability_is_of_the_action_taken_not_of_the_likeliest():
    policy = make_policy(TINY, init=0.3)
    rollout = policy.sample(numbers(9, 4))
    likeliest = torch.stack([log_p_NC.argmax(-1) for log_p_NC in rollout.log_p_T_NC], 1)
    assert (likeliest != rollout.actions_NT).any()
    for t, log_p_NC in enumerate(rollout.log_p_T_NC):
        for n in range(9):
            assert rollout.log_probs_NT[n, t] == log_p_NC[n, rollout.actions_NT[n, t]]


def test_probabilities_of_all_architectures_sum_to_one():
    every = torch.cartesian_prod(*(torch.arange(n) for n in choices_of(TINY)))
    log_probs_NT = make_policy(TINY, init=2.0).score(every).log_probs_NT
    assert log_probs_NT.sum(1).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_samples_are_distributed_as_they_are_scored():
    policy = make_policy(TINY, units=5, init=1.5)
    count = 20_000
    every = torch.cartesian_prod(*(torch.arange(n) for n in choices_of(TINY)))
    expected = count * policy.score(every).log_probs_NT.sum(1).exp().detach()
    sampled, frequencies = policy.sample(numbers(count, 4)).actions_NT.unique(
        dim=0, return_counts=True
    )
    assert torch.equal(sampled, every)
    # 35 degrees of freedom: the numbers are fixed, so this never flickers; 66.6 is 0.1 %
    assert ((frequencies - expected) ** 2 / expected).sum() < 66.6


def test_a_later_choice_depends_on_the_earlier_ones_and_not_the_other_way_round():
    policy = make_policy(TINY, init=1.0)
    first, second = policy.score(torch.tensor([[0, 1, 1, 0], [2, 1, 1, 0]])).log_p_T_NC[:2]
    assert torch.equal(first[0], first[1])
    assert not torch.allclose(second[0], second[1])


def test_decisions_of_one_turn_are_read_from_one_hidden_state():
    policy = make_policy(TINY, init=1.0)
    skip_NC = policy.score(torch.tensor([[0, 0, 1, 0], [0, 2, 1, 0]])).log_p_T_NC[2]
    assert torch.equal(skip_NC[0], skip_NC[1])


@pytest.mark.parametrize("edge", [0.0, 1 - 2**-53], ids=["first", "last"])
def test_the_edges_of_the_unit_interval_take_the_first_and_the_last_choice(edge):
    policy = make_policy()
    rollout = policy.sample(torch.full((3, 50), edge, dtype=torch.float64))
    expected = torch.tensor([0 if edge == 0 else d.choices - 1 for d in SPACE.decisions])
    assert torch.equal(rollout.actions_NT, expected.expand(3, 50))


def test_a_choice_of_probability_zero_is_never_taken():
    policy = make_policy(TINY)
    with torch.no_grad():
        policy.heads["operation"].bias[0] = -1000  # exp of it is 0
    rollout = policy.sample(torch.zeros(1, 4, dtype=torch.float64))
    assert rollout.actions_NT.tolist() == [[1, 1, 0, 0]]
    assert rollout.log_probs_NT.isfinite().all()


def test_a_proposal_practically_does_not_depend_on_its_neighbours():
    policy = make_policy()
    uniforms_NT = numbers(20, 50)
    together = policy.sample(uniforms_NT)
    for n in range(20):
        alone = policy.sample(uniforms_NT[n : n + 1])
        assert torch.equal(alone.actions_NT[0], together.actions_NT[n])
        difference_T = alone.log_probs_NT[0] - together.log_probs_NT[n]
        assert difference_T.abs().max() < 1e-14


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("turns", [TINY, SKIPS, POINTERS], ids=["tiny", "skips", "pointers"])
def test_gradients_agree_with_finite_differences(turns, layers):
    count = len(choices_of(turns))
    policy = make_policy(
        turns,
        units=3,
        layers=layers,
        init=0.7,
        skip_prior=SkipPriorConfig(rho=0.4, weight=1.0),
        squash=[SquashConfig(kind=k, temperature=2.0, constant=1.5) for k in ("input", "skip")],
    )
    actions_NT = policy.sample(numbers(4, count)).actions_NT
    weights = list(policy.parameters())

    def objective(*_):
        rollout = policy.score(actions_NT)
        weight_NT = torch.linspace(0.5, 2, 4 * count, dtype=torch.float64).reshape(4, count)
        judged_NT = rollout.log_probs_NT + rollout.entropy_NT + rollout.prior_NT
        return (weight_NT * judged_NT).sum()

    assert torch.autograd.gradcheck(objective, weights, rtol=1e-5, atol=1e-8, fast_mode=True)


@pytest.mark.parametrize(
    "turns",
    [SPACE.turns, SKIPS, POINTERS, MACRO, MICRO],
    ids=["nasnet", "skips", "pointers", "macro", "micro"],
)
def test_every_weight_is_learned(turns):
    policy = make_policy(turns)
    sampled = policy.sample(numbers(20, len(choices_of(turns))))
    policy.score(sampled.actions_NT).log_probs_NT.sum().backward()
    assert {name for name, p in policy.named_parameters() if not p.grad.any()} == set()


def test_the_step_is_that_of_torch_s_own_lstm():
    """One decision a turn, so it can be written with nn.LSTM and nn.functional alone."""
    turns = tuple(Turn((Decision("operation", 3),)) for _ in range(4))
    policy = make_policy(turns, units=5, layers=2, init=1.0)
    lstm = torch.nn.LSTM(5, 5, num_layers=2, batch_first=True, dtype=torch.float64)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    lstm.load_state_dict(
        {f"{n}_l{i}": getattr(cell, n) for i, cell in enumerate(policy.cells) for n in names}
    )
    actions_NT = policy.sample(numbers(6, 4)).actions_NT
    start_N1H = policy.start_1H.expand(6, 1, 5)
    inputs_NTH = torch.cat([start_N1H, policy.embeddings["operation"](actions_NT[:, :3])], 1)
    log_p_NTC = policy.heads["operation"](lstm(inputs_NTH)[0]).log_softmax(-1)
    expected_NT = log_p_NTC.gather(2, actions_NT[..., None])[..., 0]
    torch.testing.assert_close(policy.score(actions_NT).log_probs_NT, expected_NT)


def test_a_row_of_numbers_depends_on_its_proposal_alone():
    rows = uniforms(7, 3, "policy", range(20), 50)
    assert (uniforms(7, 3, "policy", [11], 50)[0] == rows[11]).all()
    assert (uniforms(7, 3, "policy", [11], 20)[0] == rows[11, :20]).all()  # a prefix: same stream
    assert rows.dtype == np.float64
    assert rows.min() >= 0
    assert rows.max() < 1


@pytest.mark.parametrize("other", [(8, 3, "policy"), (7, 4, "policy"), (7, 3, "control")])
def test_another_seed_version_or_arm_has_other_numbers(other):
    assert not np.isin(
        uniforms(7, 3, "policy", range(20), 50), uniforms(*other, range(20), 50)
    ).any()


def test_the_numbers_are_fixed_for_ever():
    """They decide which children a seed means: on any platform and with any library."""
    row = [0.909233099442868, 0.3259956432762866, 0.9573319145311278]
    assert uniforms(0, 0, "policy", [0], 3).tolist() == [row]


def test_the_numbers_are_evenly_spread():
    counts = np.histogram(uniforms(0, 0, "policy", range(1000), 50), bins=20, range=(0, 1))[0]
    assert ((counts - 2500) ** 2 / 2500).sum() < 43.8  # 19 degrees of freedom, 0.1 %
