"""One holding of a run: what its row asks for, parsed once, and the number that fences it."""

from dataclasses import dataclass
from typing import TypedDict

from db.lifecycle.attempts import Earned
from db.lifecycle.leases import Claim
from db.schema.enums import Purpose
from pipeline.config.run import RunConfig, load_run_config
from pipeline.config.search import EarlyStoppingConfig, RewardConfig, SearchConfig, load_config
from pipeline.config.sharing import SharedConfig
from pipeline.spaces.base import Genotype
from pipeline.spaces.registry import AnyNetworkConfig, genotype_from_data
from pipeline.training import checkpoint
from pipeline.training.checkpoint import State
from pipeline.training.problem import Curves
from pipeline.training.reward import reward


@dataclass(frozen=True, slots=True)
class StartWeights:
    """The weights that a run starts from."""

    uri: str | None  # None: the file was deleted since the run was asked for
    sha256: str

    def read(self) -> State:
        """Their content.

        Raises:
            CorruptCheckpointError: they cannot be read any more.
            MachineError: the store that should have them is away.
        """
        if self.uri is None:
            raise checkpoint.CorruptCheckpointError("the weights to start from were deleted")
        return checkpoint.read(self.uri, self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One holding of a run."""

    run_id: int
    number: int  # the fence: it is in each statement that this attempt writes with
    purpose: Purpose
    config: RunConfig
    seed: int
    start: StartWeights | None  # None: weights are drawn at random


@dataclass(frozen=True, slots=True)
class ChildOfSearch:
    """Whom a training earns a reward, and by which rules."""

    id: int
    search_id: int
    reward: RewardConfig
    early_stopping: EarlyStoppingConfig | None

    def earned(self, curves: Curves, *, stopped: bool) -> Earned:
        """The reward of a training, from what was measured after each of its epochs."""
        epochs = len(curves["accuracy"])
        return Earned(reward(curves, self.reward, stopped=stopped), epochs if stopped else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkAttempt(Attempt):
    """To train the network of one genotype."""

    genotype: Genotype
    child: ChildOfSearch | None  # None: it is trained in full, and tested


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAttempt(Attempt):
    """To train the weights that a search's children share, or to score children with them."""

    search_id: int
    search: SearchConfig
    shared: SharedConfig
    network: AnyNetworkConfig
    version: int  # of the policy that draws the children


class _Common(TypedDict):
    run_id: int
    number: int
    purpose: Purpose
    config: RunConfig
    seed: int
    start: StartWeights | None


def parse(claim: Claim) -> NetworkAttempt | SharedAttempt:
    """The attempt that a claim is.

    Raises:
        InvalidGenotypeError: the genotype in the store is none.
        UserError: a configuration in the store is none, or a newer release's.
    """
    config = load_run_config(claim.config)
    search = None if claim.search_config is None else load_config(claim.search_config)
    common: _Common = dict(
        run_id=claim.run_id,
        number=claim.attempt,
        purpose=claim.purpose,
        config=config,
        seed=claim.seed,
        start=_start(claim),
    )
    if not claim.purpose.uses_shared_weights:
        return NetworkAttempt(
            genotype=genotype_from_data(claim.genotype), child=_child(claim, search), **common
        )
    if (
        search is None
        or search.shared is None
        or config.network is None
        or claim.search_id is None
        or claim.version is None
    ):
        raise ValueError(f"run {claim.run_id} ({claim.purpose}) has no search that shares weights")
    return SharedAttempt(
        search_id=claim.search_id,
        search=search,
        shared=search.shared,
        network=config.network,
        version=claim.version,
        **common,
    )


def _start(claim: Claim) -> StartWeights | None:
    if claim.start_sha256 is None:
        return None
    return StartWeights(claim.start_uri, claim.start_sha256)


def _child(claim: Claim, search: SearchConfig | None) -> ChildOfSearch | None:
    if claim.child_id is None or claim.search_id is None or search is None:
        return None
    return ChildOfSearch(claim.child_id, claim.search_id, search.reward, search.early_stopping)
