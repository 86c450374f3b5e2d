"""A Gaussian process over categorical decisions: how good is a proposal, and how sure is that?

The kernel is k(a, b) = exp(-sum over decisions i of w_i [a_i != b_i]); w_i says how much decision
i matters. A training's noise g stands on the diagonal, and all of it is scaled by a variance s
that follows from the data. One-hot rows make the kernel two products of matrices.

N children, M candidates, T decisions, Z one-hot columns of all decisions. float64 on the CPU.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Priors of the logarithms: of the weights around a common mean, of that mean around 2 / T, and of
# the noise; the spread of the last two.
NOISE = 0.05
SPREAD = 1.5
MIN_LOG_WEIGHT, MAX_LOG_WEIGHT = -7.0, 3.0
MIN_NOISE, MAX_NOISE = 0.001, 2.0


class OneHot:
    """Rows of actions as rows of zeros and ones."""

    def __init__(self, choices: Sequence[int]) -> None:
        choices_T = torch.tensor(choices)
        self.offset_T = choices_T.cumsum(0) - choices_T
        self.columns = int(choices_T.sum())
        self.decision_Z = torch.arange(len(choices)).repeat_interleave(choices_T)

    def __call__(self, rows_NT: Tensor) -> Tensor:
        rows_NZ = torch.zeros(len(rows_NT), self.columns, dtype=torch.float64)
        return rows_NZ.scatter_(1, rows_NT + self.offset_T, 1.0)


def first_parameters(decisions: int) -> Tensor:
    """log w of each decision, then log g, before any data was seen."""
    log_weights = [math.log(2 / decisions)] * decisions
    return torch.tensor([*log_weights, math.log(NOISE)], dtype=torch.float64)


def fit(
    parameters: Tensor, rows_NT: Tensor, scores_N: Tensor, one_hot: OneHot, steps: int
) -> Tensor:
    """Parameters after some steps of Adam on the marginal likelihood with its priors."""
    rows_NZ = one_hot(rows_NT)
    parameters = parameters.clone()
    optimizer = torch.optim.Adam([parameters], lr=0.15, betas=(0.8, 0.9), maximize=True)
    for _ in range(steps):
        parameters.grad = _gradient(parameters, rows_NZ, scores_N, one_hot) + _prior(parameters)
        optimizer.step()
        parameters[:-1].clamp_(MIN_LOG_WEIGHT, MAX_LOG_WEIGHT)
        parameters[-1].clamp_(math.log(MIN_NOISE), math.log(MAX_NOISE))
    parameters.grad = None
    return parameters


def _gradient(parameters: Tensor, rows_NZ: Tensor, scores_N: Tensor, one_hot: OneHot) -> Tensor:
    """Of the logarithm of the marginal likelihood; s is at its best for the other parameters."""
    weights_T, noise = parameters[:-1].exp(), parameters[-1].exp()
    kernel_NN = _kernel(rows_NZ, rows_NZ, weights_T, one_hot)
    inverse_NN = torch.cholesky_inverse(_factor(kernel_NN, noise))
    a_N = inverse_NN @ scores_N
    scaled_N = a_N / (scores_N @ a_N / len(scores_N)).sqrt()
    m_NN = torch.outer(scaled_N, scaled_N) - inverse_NN
    by_noise = noise / 2 * m_NN.diagonal().sum()
    m_NN *= kernel_NN
    # pairs that agree in a decision do not depend on its weight
    agree_Z = (rows_NZ * (m_NN @ rows_NZ)).sum(0)
    agree_T = torch.zeros_like(weights_T).index_add_(0, one_hot.decision_Z, agree_Z)
    return torch.cat([-weights_T / 2 * (m_NN.sum() - agree_T), by_noise[None]])


def _prior(parameters: Tensor) -> Tensor:
    """Gradient of the priors' logarithm; the weights' common mean is at its best for them."""
    log_weights_T, log_noise = parameters[:-1], parameters[-1:]
    count = len(log_weights_T)
    mean = (log_weights_T.sum() + math.log(2 / count) / SPREAD**2) / (count + 1 / SPREAD**2)
    return torch.cat([mean - log_weights_T, (math.log(NOISE) - log_noise) / SPREAD**2])


def _kernel(a_NZ: Tensor, b_MZ: Tensor, weights_T: Tensor, one_hot: OneHot) -> Tensor:
    weighted_NZ = a_NZ * weights_T[one_hot.decision_Z]
    return (weighted_NZ @ b_MZ.t()).sub_(weights_T.sum()).exp_()


def _factor(kernel_NN: Tensor, noise: Tensor) -> Tensor:
    noisy_NN = kernel_NN.clone()
    noisy_NN.diagonal().add_(noise)
    factor_NN: Tensor = torch.linalg.cholesky(noisy_NN)
    return factor_NN


class Posterior:
    """What the model thinks once it has seen children, some of them without a score yet.

    A child that is still being trained counts as if its score were what is expected of it: the
    means stay, and what is near it is better known.
    """

    def __init__(
        self,
        parameters: Tensor,
        rows_NT: Tensor,
        scores_N: Tensor,
        pending_PT: Tensor,
        one_hot: OneHot,
    ) -> None:
        self._one_hot = one_hot
        self._weights_T, self._noise = parameters[:-1].exp(), parameters[-1].exp()
        self._rows_NZ = one_hot(torch.cat([rows_NT, pending_PT]))
        factor_NN = _factor(
            _kernel(self._rows_NZ, self._rows_NZ, self._weights_T, one_hot), self._noise
        )
        known = len(rows_NT)
        # the factor of the first rows is the first part of the factor of all
        whitened_N1 = _solve(factor_NN[:known, :known], scores_N[:, None])
        self._a_N1 = torch.zeros(len(self._rows_NZ), 1, dtype=torch.float64)
        self._a_N1[:known] = torch.linalg.solve_triangular(
            factor_NN[:known, :known].t(), whitened_N1, upper=True
        )
        self._factor_NN = factor_NN
        self._scale = max((whitened_N1**2).sum().item() / known, 1e-12)

    def predict(self, rows_MT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and variance of each candidate's score, and what `covariance` needs of them."""
        kernel_NM = _kernel(self._rows_NZ, self._one_hot(rows_MT), self._weights_T, self._one_hot)
        whitened_MN = _solve(self._factor_NN, kernel_NM).t()
        mean_M = (kernel_NM.t() @ self._a_N1)[:, 0]
        variance_M = self._scale * (1 - whitened_MN.square().sum(1)).clamp_min(1e-12)
        return mean_M, variance_M, whitened_MN

    def covariance(self, rows_MT: Tensor, whitened_MN: Tensor, index: int) -> Tensor:
        """Of the candidate at ``index`` with all of them."""
        differ_MT = (rows_MT != rows_MT[index]).double()
        prior_M = (differ_MT @ -self._weights_T).exp()
        return self._scale * (prior_M - whitened_MN @ whitened_MN[index])

    @property
    def size(self) -> int:
        """N, with those that have no score yet."""
        return len(self._rows_NZ)

    @property
    def noise(self) -> float:
        """The variance of one training's score."""
        return self._scale * self._noise.item()


def _solve(factor_NN: Tensor, right_NM: Tensor) -> Tensor:
    solved_NM: Tensor = torch.linalg.solve_triangular(factor_NN, right_NM, upper=False)
    return solved_NM


def expected_improvement(mean_M: Tensor, variance_M: Tensor, best: float) -> Tensor:
    """By how much each candidate is expected to be better than the best one."""
    deviation_M = variance_M.sqrt()
    z_M = (mean_M - best) / deviation_M
    density_M = (-0.5 * z_M**2).exp() / math.sqrt(2 * math.pi)
    improvement_M: Tensor = deviation_M * (z_M * torch.special.ndtr(z_M) + density_M)
    return improvement_M


def rank_scores(rewards_N: Tensor) -> Tensor:
    """Normal scores of the rewards' ranks, of mean 0 and variance 1; equals share their mean rank.

    So an accuracy, its logarithm or any other increasing function of it give the same.
    """
    _, which_N, counts = rewards_N.unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0) - counts.double() / 2  # the mean rank - 1/2 of each value
    scores_N: Tensor = torch.special.ndtri(ranks[which_N] / len(rewards_N))
    scores_N = scores_N - scores_N.mean()
    deviation = scores_N.square().mean().sqrt()
    return scores_N / deviation if deviation > 0 else scores_N
