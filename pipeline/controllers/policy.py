"""The LSTM policy: one loop over a space's turns that both samples and scores.

Shapes: N proposals, T decisions, H units, G = 4H gates, C choices, K anchors. The policy computes
in float64 on the CPU, where log-probabilities of a proposal alone and in a batch differ by some
1e-16: batching then practically never turns one child into another, so that a version sampled
anew in other portions gives the same children.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor, nn

from pipeline.config.controllers import PolicyConfig
from pipeline.spaces import Anchor, Decision, NextInput, Score, Turn


@dataclass(frozen=True, slots=True)
class Rollout:
    """A batch of proposals as the policy sees them."""

    actions_NT: Tensor
    log_probs_NT: Tensor  # of each action given those before it
    entropy_NT: Tensor  # of each decision's whole distribution, in nats
    log_p_T_NC: list[Tensor]  # of every choice, one tensor a decision, without gradients
    # of each decision from the prior on skips, KL(p || rho), in nats; 0 where there is none
    prior_NT: Tensor


@dataclass(slots=True)
class _Trace:
    """What a roll has gone through so far, in order."""

    actions: list[Tensor] = field(default_factory=list)  # (N,), of each decision
    read_from: list[Tensor] = field(default_factory=list)  # (N, H), of each decision
    keys: list[Tensor] = field(default_factory=list)  # (N, H), of each anchor: what is asked
    values: list[Tensor] = field(default_factory=list)  # (N, H), of each anchor: what is fed


class Attention(nn.Module):
    """How much a hidden state asks for an anchor: v' tanh(W1 anchor + W2 state)."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.anchor = nn.Linear(units, units, bias=False, dtype=torch.float64)
        self.state = nn.Linear(units, units, bias=False, dtype=torch.float64)
        self.score = nn.Linear(units, 1, bias=False, dtype=torch.float64)

    def forward(self, keys_TKNH: Tensor, h_TNH: Tensor) -> Tensor:
        """A number for each of K anchors, as (T, N, K)."""
        asked_TKN1: Tensor = self.score((keys_TKNH + self.state(h_TNH)[:, None]).tanh())
        return asked_TKN1[..., 0].transpose(1, 2)


class LSTMPolicy(nn.Module):
    """The controller RNN (arXiv:1707.07012, appendix A.1: one layer, 100 units, U(-0.1, 0.1)).

    Each turn is one step of the LSTM. Its decisions are read from the hidden state by a linear
    head of their kind, or by attention to what earlier turns left (arXiv:1611.01578, section
    3.3; melodyguan/enas: general_controller.py and micro_controller.py); what the next step reads
    is the turn's to say, an embedding of the last choice unless it says otherwise. The first
    step reads a learned start vector. Weights are drawn from a generator of their own, so that
    making a policy moves no global random state.

    Raises:
        ValueError: a kind has two numbers of choices, so it cannot share a head.
    """

    def __init__(self, turns: Sequence[Turn], config: PolicyConfig, *, seed: int) -> None:
        super().__init__()
        self.turns = tuple(turns)
        self.config = config
        self._decisions = [decision for turn in self.turns for decision in turn.decisions]
        choices = _choices_by_kind(self._decisions)
        attends = any(decision.score is not Score.HEAD for decision in self._decisions)
        fed = [turn.decisions[-1].kind for turn in self.turns if turn.feed is NextInput.CHOICE]
        units, f64 = config.units, torch.float64
        # torch's modules draw their weights from the global generator; on "meta" there are none
        with torch.device("meta"):
            self._cells = [
                nn.LSTMCell(units, units, bias=config.bias, dtype=f64)
                for _ in range(config.layers)
            ]
            self._heads = {
                k: nn.Linear(units, n, bias=config.head_bias, dtype=f64)
                for k, n in choices.items()
            }
            self._embeddings = {
                k: nn.Embedding(choices[k], units, dtype=f64) for k in dict.fromkeys(fed)
            }
            self.attention = Attention(units) if attends else None
            self.start_1H = nn.Parameter(torch.empty(1, units, dtype=f64))
        # registered a second time: torch finds weights in its own containers, which are untyped
        self.cells = nn.ModuleList(self._cells)
        self.heads = nn.ModuleDict(self._heads)
        self.embeddings = nn.ModuleDict(self._embeddings)
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-config.init, config.init, generator=generator)
            for first in config.bias_init:
                self._heads[first.kind].bias.copy_(torch.tensor(first.values, dtype=f64))

    def sample(self, uniforms_NT: Tensor, temperature_N1: Tensor | None = None) -> Rollout:
        """Draw proposals by the inverse of each decision's distribution function.

        Sampling is a plain function of the weights and of one number in [0, 1) per decision. So
        many decisions are taken as there are numbers: all, or those of the first turns. At a
        higher temperature it is more even; log-probabilities are those at temperature 1.
        """
        with torch.no_grad():
            return self._roll(uniforms_NT, None, temperature_N1)

    def score(self, actions_NT: Tensor) -> Rollout:
        """What the policy thinks of given actions, with gradients."""
        return self._roll(None, actions_NT)

    def _roll(
        self,
        uniforms_NT: Tensor | None,
        actions_NT: Tensor | None,
        temperature_N1: Tensor | None = None,
    ) -> Rollout:
        given_NT = uniforms_NT if actions_NT is None else actions_NT
        assert given_NT is not None
        inputs = self._input_gates()
        zeros_NH = self.start_1H.new_zeros(len(given_NT), self.config.units)
        state = [(zeros_NH, zeros_NH) for _ in self._cells]
        gates_NG = inputs["start"].expand(len(given_NT), -1)
        trace = _Trace()
        for turn in self.turns:
            if len(trace.actions) == given_NT.shape[1]:
                break
            h_NH, state = self._step(gates_NG, state)
            for _, alike in groupby(turn.decisions, key=_family):
                decisions = list(alike)
                t = len(trace.actions)
                given_TN = given_NT[:, t : t + len(decisions)].t()
                if actions_NT is None:
                    h_TNH = h_NH.expand(len(decisions), -1, -1)
                    logits_TNC = self._logits(decisions, h_TNH, trace.keys)
                    if temperature_N1 is not None:
                        logits_TNC = logits_TNC / temperature_N1
                    given_TN = _inverse_cdf(logits_TNC.log_softmax(-1), given_TN)
                trace.actions += given_TN.unbind()
                trace.read_from += [h_NH] * len(decisions)
            gates_NG = self._fed(turn, inputs, trace).expand(len(given_NT), -1)
            if turn.anchor is not None:
                assert self.attention is not None
                trace.keys.append(self.attention.anchor(h_NH))
                trace.values.append(h_NH if turn.anchor is Anchor.HIDDEN else zeros_NH)
        return self._judge(trace)

    def _fed(self, turn: Turn, inputs: dict[str, Tensor], trace: _Trace) -> Tensor:
        """What the next step's first layer reads, as gates."""
        if turn.feed is NextInput.START:
            return inputs["start"]
        last = turn.decisions[-1]
        if turn.feed is NextInput.CHOICE:
            return inputs[last.kind].index_select(0, trace.actions[-1])
        if turn.feed is NextInput.CHOSEN:
            values_KNH = torch.stack([trace.values[anchor] for anchor in last.anchors])
            action_N = trace.actions[-1]
            return self._gates(values_KNH[action_N, torch.arange(len(action_N))])
        taken_KN1 = torch.stack(trace.actions[-len(turn.decisions) :])[..., None]
        values_KNH = torch.stack([trace.values[d.anchors[0]] for d in turn.decisions])
        return self._gates((taken_KN1 * values_KNH).sum(0) / (1 + taken_KN1.sum(0)))

    def _judge(self, trace: _Trace) -> Rollout:
        """All decisions, those of a kind at once: a call costs more than the sums in it."""
        read_from_TNH, actions_NT = torch.stack(trace.read_from), torch.stack(trace.actions, 1)
        families: dict[tuple[str, int], list[int]] = {}
        for position, decision in enumerate(self._decisions[: len(trace.actions)]):
            families.setdefault(_family(decision), []).append(position)
        log_probs: list[Tensor] = []
        entropies: list[Tensor] = []
        priors: list[Tensor] = []
        log_p_T_NC: dict[int, Tensor] = {}
        for positions in families.values():
            decisions = [self._decisions[position] for position in positions]
            log_p_TNC = self._logits(decisions, read_from_TNH[positions], trace.keys).log_softmax(
                -1
            )
            chosen_TN1 = actions_NT.t()[positions][:, :, None]
            log_probs.append(log_p_TNC.gather(2, chosen_TN1)[:, :, 0])
            entropies.append(-(log_p_TNC.exp() * log_p_TNC).sum(-1))
            priors.append(self._from_prior(decisions[0], log_p_TNC))
            log_p_T_NC |= zip(positions, log_p_TNC.detach(), strict=True)
        in_order = torch.tensor(
            [t for positions in families.values() for t in positions]
        ).argsort()
        return Rollout(
            actions_NT,
            torch.cat(log_probs)[in_order].t(),
            torch.cat(entropies)[in_order].t(),
            [log_p_T_NC[position] for position in range(len(log_p_T_NC))],
            torch.cat(priors)[in_order].t(),
        )

    def _logits(self, decisions: Sequence[Decision], h_TNH: Tensor, keys: list[Tensor]) -> Tensor:
        """Those of all choices of decisions of one family, (T, N, C).

        In the order of the authors' code: temperature, tanh, fixed offset.
        """
        first = decisions[0]
        if first.score is Score.HEAD:
            logits_TNC: Tensor = self._heads[first.kind](h_TNH)
        else:
            assert self.attention is not None
            keys_TKNH = torch.stack([torch.stack([keys[k] for k in d.anchors]) for d in decisions])
            logits_TNC = self.attention(keys_TKNH, h_TNH)
            if first.score is Score.SKIP:
                no_TN1 = -logits_TNC if self.config.symmetric_skip else 0 * logits_TNC
                logits_TNC = torch.cat([no_TN1, logits_TNC], -1)
        for squash in (s for s in self.config.squash if s.kind == first.kind):
            logits_TNC = squash.constant * (logits_TNC / squash.temperature).tanh()
        if any(decision.offset for decision in decisions):
            offsets = [decision.offset or (0.0,) * first.choices for decision in decisions]
            logits_TNC = logits_TNC + torch.tensor(offsets, dtype=torch.float64)[:, None]
        return logits_TNC

    def _from_prior(self, decision: Decision, log_p_TNC: Tensor) -> Tensor:
        """KL(Bernoulli(p) || Bernoulli(rho)) of skips (arXiv:1802.03268, section 2.3)."""
        prior = self.config.skip_prior
        if prior is None or decision.score is not Score.SKIP:
            return torch.zeros_like(log_p_TNC[..., 0])
        if prior.of == "logit" and self.config.symmetric_skip:
            log_p_TNC = (log_p_TNC / 2).log_softmax(-1)  # the logits are (-q, q): from 2q to q
        log_rho_C = torch.tensor([1 - prior.rho, prior.rho], dtype=torch.float64).log()
        return (log_p_TNC.exp() * (log_p_TNC - log_rho_C)).sum(-1)

    def _input_gates(self) -> dict[str, Tensor]:
        """What each possible input adds to the first layer's gates: once a call, not a step."""
        inputs: dict[str, Tensor] = {"start": self.start_1H}
        inputs |= {kind: table.weight for kind, table in self._embeddings.items()}
        return {kind: self._gates(x_CH) for kind, x_CH in inputs.items()}

    def _gates(self, x_NH: Tensor) -> Tensor:
        """What an input adds to the first layer's gates."""
        return _affine(self._cells[0], x_NH)

    def _step(
        self, gates_NG: Tensor, state: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """One step of all layers; returns the last one's hidden state."""
        after: list[tuple[Tensor, Tensor]] = []
        for layer, (cell, (h_NH, c_NH)) in enumerate(zip(self._cells, state, strict=True)):
            if layer:
                gates_NG = _affine(cell, after[-1][0])
            gates_NG = torch.addmm(gates_NG, h_NH, cell.weight_hh.t())
            i_NH, f_NH, g_NH, o_NH = gates_NG.chunk(4, 1)
            c_NH = f_NH.sigmoid() * c_NH + i_NH.sigmoid() * g_NH.tanh()
            after.append((o_NH.sigmoid() * c_NH.tanh(), c_NH))
        return after[-1][0], after


def _affine(cell: nn.LSTMCell, x_NH: Tensor) -> Tensor:
    if not cell.bias:
        return x_NH @ cell.weight_ih.t()
    return torch.addmm(cell.bias_ih + cell.bias_hh, x_NH, cell.weight_ih.t())


def _family(decision: Decision) -> tuple[str, int]:
    """Decisions of a family are scored together: one kind, and as many choices."""
    return decision.kind, decision.choices


def _choices_by_kind(decisions: Sequence[Decision]) -> dict[str, int]:
    """The heads that are needed."""
    choices: dict[str, int] = {}
    for decision in decisions:
        if decision.score is not Score.HEAD:
            continue
        known = choices.setdefault(decision.kind, decision.choices)
        if known != decision.choices:
            raise ValueError(f"{decision.kind}: {known} and {decision.choices} choices")
    return choices


def _inverse_cdf(log_p_TNC: Tensor, uniform_TN: Tensor) -> Tensor:
    cdf_TNC = log_p_TNC.exp().cumsum(-1)
    # the last choice takes what rounding leaves
    return (cdf_TNC[..., :-1] <= uniform_TN[..., None]).sum(-1)
