"""The controllers' configurations: the defaults are the papers', small budgets have presets.

The papers' settings were made for searches of 12,800 and 20,000 children. Where a controller has
a key ``preset``, "small-budget" fills in what does best within some hundred children; a key that
is written goes before it. Those values were chosen on NAS-Bench-201 with seeds that no reported
figure stands on (``benchmarks/search_quality.py``).
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.config_base import Config, Many, Positive


class PresetConfig(Config):
    """A controller whose defaults have a second, named set."""

    small_budget: ClassVar[Mapping[str, Any]] = {}

    preset: Literal["paper", "small-budget"] = "paper"  # what fills in the keys left out

    @model_validator(mode="before")
    @classmethod
    def _preset_filled(cls, keys: Any) -> Any:
        if not isinstance(keys, dict) or keys.get("preset") != "small-budget":
            return keys
        return {**cls.small_budget, **keys}


class SquashConfig(Config):
    """Logits as constant x tanh(logit / temperature) (arXiv:1611.09940, appendix A.1)."""

    kind: str  # of decisions
    temperature: Positive = 1.0
    constant: Positive


class BiasConfig(Config):
    """The first biases of a head, which are learned."""

    kind: str  # of decisions
    values: Many[float]


class SkipPriorConfig(Config):
    """How likely a skip should be (arXiv:1802.03268, section 2.3).

    The paper gives rho, the weight and the KL divergence "between any two layers", and does not
    say over what the divergences are summed, nor beside what.
    """

    rho: float = Field(gt=0, lt=1)
    weight: float = Field(ge=0, le=100)  # of the KL divergence, in the loss
    # which divergence the weight is of: the mean of all skips', beside the mean over all decisions
    # that the rest of the loss is; or, as in ENAS' released general_controller.py, the mean over
    # layers of the sum of a layer's skips, beside the sum over all decisions
    per: Literal["skip", "layer"] = "skip"
    # whose divergence it is: that of the probability a skip is drawn with; or that of the sigmoid
    # of its logit q, as in the released code, which draws with that of 2q (symmetric_skip)
    of: Literal["drawn", "logit"] = "drawn"


class PolicyConfig(Config):
    """The LSTM that samples."""

    units: int = Field(100, ge=1, le=4096)
    layers: int = Field(1, ge=1, le=8)
    bias: bool = True  # of the LSTM's gates
    head_bias: bool = True  # of the heads, whose softmax is over operations and the like
    init: Positive = 0.1  # weights are drawn from U(-init, init)
    squash: Many[SquashConfig] = ()
    bias_init: Many[BiasConfig] = ()
    # whether a skip's logits are (-q, q), as in ENAS' released code, not (0, q) as in its paper
    symmetric_skip: bool = False
    skip_prior: SkipPriorConfig | None = None

    @model_validator(mode="after")
    def _biases_are_there(self) -> Self:
        if self.bias_init and not self.head_bias:
            raise ValueError("bias_init: needs head_bias = true")
        return self


class PolicyGradientConfig(PresetConfig, PolicyConfig):
    """What the ways to train the LSTM policy have in common."""

    batch: int = Field(20, ge=1, le=10_000)  # children a policy version
    learning_rate: Positive = 3.5e-4  # of Adam, as the two that follow
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    adam_epsilon: Positive = 1e-8
    entropy_weight: float = Field(1e-5, ge=0, le=10)  # nats, mean over the decisions
    # where entropy goes: into the loss, as the mean of the distributions' own; or into the reward,
    # as a sum over the decisions
    entropy_in: Literal["loss", "reward"] = "loss"
    # of what a reward's is: -log p of what was chosen; -p log p of what was chosen (ENAS' released
    # general_controller.py); or the whole distributions' (its micro_controller.py)
    reward_entropy: Literal["surprise", "chosen", "whole"] = "surprise"
    # what a reward is held against: the moving average of the batches before; or its rank among
    # all rewards so far, from -1 to 1, which no scale of rewards can change
    advantage: Literal["baseline", "rank"] = "baseline"
    baseline_decay: float = Field(0.95, ge=0, lt=1)
    # the moving average begins with the first batch's mean and moves after its advantage; or it
    # begins at 0 and moves before, by the batch's mean; or it does so child by child (ENAS'
    # released controllers)
    baseline_moves: Literal["after", "before", "each"] = "after"
    # how strongly the best children so far are imitated (their mean log-probability's weight in
    # the objective), and how many of them
    imitation_weight: float = Field(0.0, ge=0, le=10)
    imitated: int = Field(10, ge=1, le=1000)
    repeats: bool = True  # whether an architecture may be proposed a second time


class PPOConfig(PolicyGradientConfig):
    """The LSTM controller trained by PPO (arXiv:1707.07012, appendix A.1-A.2)."""

    small_budget = {
        "learning_rate": 7e-3,
        "epochs": 6,
        "entropy_weight": 0.05,
        "advantage": "rank",
        "imitation_weight": 0.5,
        "repeats": False,
    }

    name: Literal["ppo"] = "ppo"
    # The paper gives neither. Both are of arXiv:1707.06347: the clip that was best in its table
    # 1, and the passes over a batch of its games of discrete actions (table 5).
    clip: float = Field(0.2, gt=0, lt=1)
    epochs: int = Field(3, ge=1, le=1000)


class ReinforceConfig(PolicyGradientConfig):
    """The LSTM controller trained by REINFORCE, as in NAS (arXiv:1611.01578, section 4.1)."""

    small_budget = {
        "batch": 10,
        "learning_rate": 2e-2,
        "entropy_weight": 0.05,
        "advantage": "rank",
        "imitation_weight": 0.2,
        "repeats": False,
        "units": 100,
        "layers": 1,
        "init": 0.1,
    }

    name: Literal["reinforce"] = "reinforce"
    batch: int = Field(8, ge=1, le=10_000)  # "m = 8 children" a replica, of 100 replicas
    learning_rate: Positive = 6e-4  # of Adam
    entropy_weight: float = Field(0.0, ge=0, le=10)  # the paper names none
    baseline_decay: float = Field(0.95, ge=0, lt=1)  # the paper does not say
    units: int = Field(35, ge=1, le=4096)
    layers: int = Field(2, ge=1, le=8)
    init: Positive = 0.08


class EvolutionConfig(PresetConfig):
    """Regularised evolution (arXiv:1802.01548): the oldest die, the best of a tournament breed."""

    small_budget = {"population": 50, "tournament": 50, "replacement": False, "repeats": False}

    name: Literal["evolution"] = "evolution"
    batch: int = Field(20, ge=1, le=10_000)  # children a version, that is, a population
    population: int = Field(100, ge=1, le=100_000)  # P of the paper, which searched with 100 ...
    tournament: int = Field(25, ge=1, le=100_000)  # ... and S, of which 25 take part
    # whether one may take part in a tournament several times, as in algorithm 1 of the paper
    replacement: bool = True
    repeats: bool = True  # whether an architecture may be proposed a second time

    @model_validator(mode="after")
    def _tournament_fits(self) -> Self:
        if self.tournament > self.population:
            raise ValueError(
                f"tournament: at most the population, {self.population} (got {self.tournament})"
            )
        return self


class PredictorConfig(Config):
    """A Gaussian process over the decisions, which proposes what promises most."""

    name: Literal["predictor"] = "predictor"
    batch: int = Field(20, ge=1, le=10_000)  # children picked together
    start: int = Field(30, ge=2, le=10_000)  # rewards before the model chooses
    pool: int = Field(1500, ge=10, le=100_000)  # candidates that are judged for a batch
    climbs: int = Field(2, ge=0, le=100)  # times that the best candidates are changed further
    memory: int = Field(1000, ge=10, le=10_000)  # children that the model knows: best and newest


class RandomConfig(Config):
    """Uniform choices: the baseline every controller is held against."""

    name: Literal["random"] = "random"
    batch: int = Field(20, ge=1, le=10_000)


ControllerConfig = Annotated[
    PPOConfig | ReinforceConfig | EvolutionConfig | PredictorConfig | RandomConfig,
    Field(discriminator="name"),
]
