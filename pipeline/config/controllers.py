"""The controllers' configurations: the defaults are the papers', small budgets have presets.

The papers' settings were made for searches of 12,800 and 20,000 children. Where a controller has
a key ``preset``, "small-budget" fills in what does best within some hundred children; a key that
is written goes before it. Those values were chosen on NAS-Bench-201 with seeds that no reported
figure stands on (``benchmarks/search_quality.py``).
"""

import functools
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from pipeline.errors import UserError
from pipeline.io.config_model import Config, Many, Positive
from pipeline.spaces.base import DecisionSpace, Score


class ControllerConfig(Config):
    """What every controller's configuration has, each with a description of its own."""

    if TYPE_CHECKING:  # each declares them, in the place where its keys are listed
        name: str
        batch: int


class PresetConfig(ControllerConfig):
    """A controller whose defaults have a second, named set."""

    small_budget: ClassVar[Mapping[str, Any]] = {}

    preset: Literal["paper", "small-budget"] = "paper"
    """What fills in the keys left out: the paper's values, or those for some hundred children."""

    @model_validator(mode="before")
    @classmethod
    def _preset_filled(cls, keys: Any) -> Any:
        if not isinstance(keys, dict) or keys.get("preset") != "small-budget":
            return keys
        return {**cls.small_budget, **keys}


class SquashConfig(Config):
    """Logits as constant x tanh(logit / temperature) (arXiv:1611.09940, appendix A.1)."""

    kind: str
    """The kind of decisions."""
    temperature: Positive = 1.0
    """What a logit is divided by."""
    constant: Positive
    """What its tanh is multiplied with."""


class BiasConfig(Config):
    """The first biases of a head, which are learned."""

    kind: str
    """The kind of decisions."""
    values: Many[float]
    """One a choice."""


class SkipPriorConfig(Config):
    """How likely a skip should be (arXiv:1802.03268, section 2.3).

    The paper gives rho, the weight and the KL divergence "between any two layers", and does not
    say over what the divergences are summed, nor beside what.
    """

    rho: float = Field(gt=0, lt=1)
    """The probability of a skip."""
    weight: float = Field(ge=0, le=100)
    """The weight of the KL divergence, in the loss."""
    per: Literal["skip", "layer"] = "skip"
    """Which divergence the weight is of: the mean of all skips', beside the mean over all
    decisions that the rest of the loss is; or, as in ENAS' released general_controller.py, the
    mean over layers of the sum of a layer's skips, beside the sum over all decisions.
    """
    of: Literal["drawn", "logit"] = "drawn"
    """Whose divergence it is: that of the probability a skip is drawn with; or that of the sigmoid
    of its logit q, as in the released code, which draws with that of 2q (symmetric_skip).
    """


class PolicyConfig(Config):
    """The LSTM that samples."""

    units: int = Field(100, ge=1, le=4096)
    """Hidden units of each layer of the LSTM."""
    layers: int = Field(1, ge=1, le=8)
    """Layers of the LSTM."""
    bias: bool = True
    """Whether the LSTM's gates have biases."""
    head_bias: bool = True
    """Whether the heads have biases, whose softmax is over operations and the like."""
    init: Positive = 0.1
    """Weights are drawn from U(-init, init)."""
    squash: Many[SquashConfig] = ()
    """Kinds of decisions whose logits are kept small."""
    bias_init: Many[BiasConfig] = ()
    """Kinds of decisions whose heads begin with these biases."""
    symmetric_skip: bool = False
    """Whether a skip's logits are (-q, q), as in ENAS' released code, not (0, q) as in its paper.
    """
    skip_prior: SkipPriorConfig | None = None
    """How likely a skip should be; none: nothing is said of it."""

    @model_validator(mode="after")
    def _biases_are_there(self) -> Self:
        if self.bias_init and not self.head_bias:
            raise ValueError("bias_init: needs head_bias = true")
        return self


class PolicyGradientConfig(PresetConfig, PolicyConfig):
    """What the ways to train the LSTM policy have in common."""

    batch: int = Field(20, ge=1, le=10_000)
    """Children a policy version."""
    learning_rate: Positive = 3.5e-4
    """Adam's learning rate."""
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    """Adam's decay of the gradients' mean."""
    adam_epsilon: Positive = 1e-8
    """Adam's epsilon."""
    entropy_weight: float = Field(1e-5, ge=0, le=10)
    """The weight of the policy's entropy (nats, the mean over the decisions)."""
    entropy_in: Literal["loss", "reward"] = "loss"
    """Where entropy goes: into the loss, as the mean of the distributions' own; or into the
    reward, as a sum over the decisions.
    """
    reward_entropy: Literal["surprise", "chosen", "whole"] = "surprise"
    """Of what a reward's entropy is: -log p of what was chosen; -p log p of what was chosen (ENAS'
    released general_controller.py); or the whole distributions' (its micro_controller.py).
    """
    advantage: Literal["baseline", "rank"] = "baseline"
    """What a reward is held against: the moving average of the batches before; or its rank among
    all rewards so far, from -1 to 1, which no scale of rewards can change.
    """
    baseline_decay: float = Field(0.95, ge=0, lt=1)
    """The decay of the baseline, a moving average of rewards."""
    baseline_moves: Literal["after", "before", "each"] = "after"
    """Whether the baseline begins with the first batch's mean and moves after its advantage; or
    begins at 0 and moves before, by the batch's mean; or does so child by child (ENAS' released
    controllers).
    """
    imitation_weight: float = Field(0.0, ge=0, le=10)
    """How strongly the best children so far are imitated: the weight of their mean log-probability
    in the objective.
    """
    imitated: int = Field(10, ge=1, le=1000)
    """How many of the best children are imitated."""
    repeats: bool = True
    """Whether an architecture may be proposed a second time."""


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
    """The LSTM policy, trained by PPO."""
    # The paper gives neither. Both are of arXiv:1707.06347: the clip that was best in its table
    # 1, and the passes over a batch of its games of discrete actions (table 5).
    clip: float = Field(0.2, gt=0, lt=1)
    """How far a probability ratio may move."""
    epochs: int = Field(3, ge=1, le=1000)
    """Passes over a batch."""


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
    """The LSTM policy, trained by REINFORCE."""
    batch: int = Field(8, ge=1, le=10_000)
    """Children a policy version; the paper has "m = 8 children" a replica, of 100 replicas."""
    learning_rate: Positive = 6e-4
    """Adam's learning rate."""
    entropy_weight: float = Field(0.0, ge=0, le=10)
    """The weight of the policy's entropy (nats, the mean over the decisions); the paper names
    none.
    """
    baseline_decay: float = Field(0.95, ge=0, lt=1)
    """The decay of the baseline, a moving average of rewards; the paper does not say."""
    units: int = Field(35, ge=1, le=4096)
    """Hidden units of each layer of the LSTM."""
    layers: int = Field(2, ge=1, le=8)
    """Layers of the LSTM."""
    init: Positive = 0.08
    """Weights are drawn from U(-init, init)."""


class EvolutionConfig(PresetConfig):
    """Regularised evolution (arXiv:1802.01548): the oldest die, the best of a tournament breed."""

    small_budget = {"population": 50, "tournament": 50, "replacement": False, "repeats": False}

    name: Literal["evolution"] = "evolution"
    """Regularised evolution."""
    batch: int = Field(20, ge=1, le=10_000)
    """Children a version, that is, a population."""
    population: int = Field(100, ge=1, le=100_000)
    """P of the paper: the number of children that are alive."""
    tournament: int = Field(25, ge=1, le=100_000)
    """S of the paper: the number of them that take part in a tournament."""
    replacement: bool = True
    """Whether one may take part in a tournament several times, as in the paper's algorithm 1."""
    repeats: bool = True
    """Whether an architecture may be proposed a second time."""

    @model_validator(mode="after")
    def _tournament_fits(self) -> Self:
        if self.tournament > self.population:
            raise ValueError(
                f"tournament: at most the population, {self.population} (got {self.tournament})"
            )
        return self


class PredictorConfig(ControllerConfig):
    """A Gaussian process over the decisions, which proposes what promises most."""

    name: Literal["predictor"] = "predictor"
    """A Gaussian process over the decisions."""
    batch: int = Field(20, ge=1, le=10_000)
    """Children picked together."""
    start: int = Field(30, ge=2, le=10_000)
    """Rewards before the model chooses."""
    pool: int = Field(1500, ge=10, le=100_000)
    """Candidates that are judged for a batch."""
    climbs: int = Field(2, ge=0, le=100)
    """Times that the best candidates are changed further."""
    memory: int = Field(1000, ge=10, le=10_000)
    """Children that the model knows: the best and the newest."""


class RandomConfig(ControllerConfig):
    """Uniform choices: the baseline every controller is held against."""

    name: Literal["random"] = "random"
    """Uniform choices."""
    batch: int = Field(20, ge=1, le=10_000)
    """Children a version."""


class ControllerType(NamedTuple):
    """A controller: its configuration, and ``module:class``, which is imported when it is made."""

    config: type[ControllerConfig]
    controller: str


# By their names; a new controller is a line here, a configuration above, and its class.
CONTROLLERS: dict[str, ControllerType] = {
    "ppo": ControllerType(PPOConfig, "pipeline.controllers.ppo:PPO"),
    "reinforce": ControllerType(ReinforceConfig, "pipeline.controllers.reinforce:Reinforce"),
    "evolution": ControllerType(EvolutionConfig, "pipeline.controllers.evolution:Evolution"),
    "predictor": ControllerType(PredictorConfig, "pipeline.controllers.predictor:Predictor"),
    "random": ControllerType(RandomConfig, "pipeline.controllers.random_search:RandomSearch"),
}

# What the key of a search may hold; to the type checker, what all of its members have.
if TYPE_CHECKING:
    AnyControllerConfig = ControllerConfig
else:
    AnyControllerConfig = Annotated[
        functools.reduce(operator.or_, (one.config for one in CONTROLLERS.values())),
        Field(discriminator="name"),
    ]


def check_kinds(config: PolicyConfig, space: DecisionSpace) -> None:
    """Check that what a policy is told of kinds of decisions is of kinds that the space has.

    Raises:
        UserError: naming the key, the kind, and the kinds that there are.
    """
    kinds = {decision.kind: decision for decision in space.decisions}
    for key, entries in (("squash", config.squash), ("bias_init", config.bias_init)):
        for entry in entries:
            if entry.kind not in kinds:
                known = ", ".join(kinds)
                raise UserError(f"controller.{key}: no decision is a {entry.kind!r}; of: {known}")
    for bias in config.bias_init:
        decision = kinds[bias.kind]
        if decision.score is not Score.HEAD or len(bias.values) != decision.choices:
            heads = {d.kind: d.choices for d in space.decisions if d.score is Score.HEAD}
            raise UserError(
                f"controller.bias_init: {len(bias.values)} values of kind {bias.kind!r}, but the "
                f"biases are: {', '.join(f'{kind} {count}' for kind, count in heads.items())}"
            )
    skips = any(decision.score is Score.SKIP for decision in space.decisions)
    if not skips and (config.skip_prior is not None or config.symmetric_skip):
        raise UserError("controller.skip_prior, symmetric_skip: the space has no skips")
