"""The LSTM policy: one loop over a space's turns that both samples and scores.

Shapes: N proposals, T decisions, H units, G = 4H gates, C choices. The policy computes in
float64 on the CPU, where log-probabilities of a proposal alone and in a batch differ by some
1e-16: batching then practically never turns one child into another (law 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.spaces import Turn


@dataclass(frozen=True, slots=True)
class Rollout:
    """A batch of proposals as the policy sees them."""

    actions_NT: Tensor
    log_probs_NT: Tensor  # of each action given those before it
    entropy_NT: Tensor  # of each decision's whole distribution, in nats
    log_p_T_NC: list[Tensor]  # of every choice, one tensor a decision, without gradients


class LSTMPolicy(nn.Module):
    """The controller RNN (arXiv:1707.07012, appendix A.1: one layer, 100 units, U(-0.1, 0.1)).

    Each turn is one step of the LSTM. Its decisions are read from the hidden state by a linear
    head of their kind; the last choice's embedding is what the next step reads. The first step
    reads a learned start vector. Weights are drawn from a generator of their own, so that making
    a policy moves no global random state.

    Raises:
        ValueError: a kind has two numbers of choices, so it cannot share a head.
    """

    def __init__(
        self, turns: Sequence[Turn], *, units: int, layers: int, init: float, seed: int
    ) -> None:
        super().__init__()
        self.turns = tuple(turns)
        kinds = [decision.kind for turn in self.turns for decision in turn.decisions]
        self._decisions = {kind: _positions(kinds, kind) for kind in dict.fromkeys(kinds)}
        choices = _choices_by_kind(self.turns)
        f64 = torch.float64
        # torch's modules draw their weights from the global generator; on "meta" there are none
        with torch.device("meta"):
            self._cells = [nn.LSTMCell(units, units, dtype=f64) for _ in range(layers)]
            self._heads = {k: nn.Linear(units, n, dtype=f64) for k, n in choices.items()}
            self._embeddings = {k: nn.Embedding(n, units, dtype=f64) for k, n in choices.items()}
            self.start_1H = nn.Parameter(torch.empty(1, units, dtype=f64))
        # registered a second time: torch finds weights in its own containers, which are untyped
        self.cells = nn.ModuleList(self._cells)
        self.heads = nn.ModuleDict(self._heads)
        self.embeddings = nn.ModuleDict(self._embeddings)
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-init, init, generator=generator)

    def sample(self, uniforms_NT: Tensor, temperature_N1: Tensor | None = None) -> Rollout:
        """Draw proposals by the inverse of each decision's distribution function.

        Sampling is a plain function of the weights and of one number in [0, 1) per decision. At
        a higher temperature it is more even; log-probabilities are those at temperature 1.
        """
        with torch.no_grad():
            return self._roll(len(uniforms_NT), uniforms_NT, None, temperature_N1)

    def score(self, actions_NT: Tensor) -> Rollout:
        """What the policy thinks of given actions, with gradients."""
        return self._roll(len(actions_NT), None, actions_NT)

    def _roll(
        self,
        count: int,
        uniforms_NT: Tensor | None,
        actions_NT: Tensor | None,
        temperature_N1: Tensor | None = None,
    ) -> Rollout:
        inputs = self._input_gates()
        state = [self._zeros(count) for _ in self._cells]
        gates_NG = inputs["start"].expand(count, -1)
        read_from: list[Tensor] = []
        actions: list[Tensor] = []
        for turn in self.turns:
            h_NH, state = self._step(gates_NG, state)
            for decision in turn.decisions:
                if uniforms_NT is not None:
                    logits_NC = self._heads[decision.kind](h_NH)
                    if temperature_N1 is not None:
                        logits_NC = logits_NC / temperature_N1
                    log_p_NC = logits_NC.log_softmax(-1)
                    action_N = _inverse_cdf(log_p_NC, uniforms_NT[:, len(actions)])
                else:
                    assert actions_NT is not None
                    action_N = actions_NT[:, len(actions)]
                read_from.append(h_NH)
                actions.append(action_N)
                gates_NG = inputs[decision.kind].index_select(0, action_N)
        return self._judge(torch.stack(read_from), torch.stack(actions, 1))

    def _judge(self, read_from_TNH: Tensor, actions_NT: Tensor) -> Rollout:
        """All decisions, those of a kind at once: a call costs more than the sums in it."""
        log_probs: list[Tensor] = []
        entropies: list[Tensor] = []
        log_p_T_NC: dict[int, Tensor] = {}
        for kind, positions in self._decisions.items():
            log_p_TNC = self._heads[kind](read_from_TNH[positions]).log_softmax(-1)
            chosen_TN1 = actions_NT.t()[positions][:, :, None]
            log_probs.append(log_p_TNC.gather(2, chosen_TN1)[:, :, 0])
            entropies.append(-(log_p_TNC.exp() * log_p_TNC).sum(-1))
            log_p_T_NC |= zip(positions.tolist(), log_p_TNC.detach(), strict=True)
        in_order = torch.cat(list(self._decisions.values())).argsort()
        return Rollout(
            actions_NT,
            torch.cat(log_probs)[in_order].t(),
            torch.cat(entropies)[in_order].t(),
            [log_p_T_NC[position] for position in range(len(log_p_T_NC))],
        )

    def _input_gates(self) -> dict[str, Tensor]:
        """What each possible input adds to the first layer's gates: once a call, not a step."""
        cell = self._cells[0]
        inputs: dict[str, Tensor] = {"start": self.start_1H}
        inputs |= {kind: table.weight for kind, table in self._embeddings.items()}
        bias_G = cell.bias_ih + cell.bias_hh
        return {
            kind: torch.addmm(bias_G, x_CH, cell.weight_ih.t()) for kind, x_CH in inputs.items()
        }

    def _zeros(self, count: int) -> tuple[Tensor, Tensor]:
        zeros_NH = self.start_1H.new_zeros(count, self.start_1H.shape[1])
        return zeros_NH, zeros_NH

    def _step(
        self, gates_NG: Tensor, state: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """One step of all layers; returns the last one's hidden state."""
        after: list[tuple[Tensor, Tensor]] = []
        for layer, (cell, (h_NH, c_NH)) in enumerate(zip(self._cells, state, strict=True)):
            if layer:
                gates_NG = torch.addmm(
                    cell.bias_ih + cell.bias_hh, after[-1][0], cell.weight_ih.t()
                )
            gates_NG = torch.addmm(gates_NG, h_NH, cell.weight_hh.t())
            i_NH, f_NH, g_NH, o_NH = gates_NG.chunk(4, 1)
            c_NH = f_NH.sigmoid() * c_NH + i_NH.sigmoid() * g_NH.tanh()
            after.append((o_NH.sigmoid() * c_NH.tanh(), c_NH))
        return after[-1][0], after


def _positions(kinds: Sequence[str], kind: str) -> Tensor:
    return torch.tensor([position for position, other in enumerate(kinds) if other == kind])


def _choices_by_kind(turns: Sequence[Turn]) -> dict[str, int]:
    choices: dict[str, int] = {}
    for turn in turns:
        for decision in turn.decisions:
            known = choices.setdefault(decision.kind, decision.choices)
            if known != decision.choices:
                raise ValueError(f"{decision.kind}: {known} and {decision.choices} choices")
    return choices


def _inverse_cdf(log_p_NC: Tensor, uniform_N: Tensor) -> Tensor:
    cdf_NC = log_p_NC.exp().cumsum(-1)
    # the last choice takes what rounding leaves
    return (cdf_NC[:, :-1] <= uniform_N[:, None]).sum(-1)
