"""ENAS' macro search space: an operation and skips for each layer (arXiv:1802.03268, 2.3)."""

from collections.abc import Sequence

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces.base import Anchor, Decision, NextInput, Score, Turn, check_whole
from pipeline.spaces.macro.config import MacroSpaceConfig
from pipeline.spaces.macro.genotype import MacroGenotype, MacroLayer


class MacroSpace:
    """For each layer one of the operations, then for each layer before it whether it is joined.

    The turns are the released controller's (melodyguan/enas: general_controller.py): the skips
    of a layer are read from one hidden state, each by attention to an earlier layer's, and the
    mean of what they take is fed next; the first layer has none and feeds the start vector.
    """

    def __init__(self, config: MacroSpaceConfig) -> None:
        self.config = config
        turns: list[Turn] = []
        for layer in range(config.layers):
            skips = tuple(Decision("skip", 2, Score.SKIP, (j,)) for j in range(layer))
            feed = NextInput.MEAN if skips else NextInput.START
            turns.append(Turn((Decision("operation", len(config.operations)),)))
            turns.append(Turn(skips, feed, Anchor.HIDDEN))
        self.turns = tuple(turns)
        self.decisions = tuple(decision for turn in turns for decision in turn.decisions)

    @property
    def labels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Such as ``("layer 2 joins 1", ("no", "yes"))``; output 0 is the stem's."""
        found: list[tuple[str, tuple[str, ...]]] = []
        for number in range(1, self.config.layers + 1):
            found.append((f"layer {number}, operation", self.config.operations))
            found += [
                (f"layer {number} joins {source}", ("no", "yes"))
                for source in self.config.sources(number)
            ]
        return tuple(found)

    def length(self, learned: int) -> int:
        """All decisions, whatever was learned."""
        return len(self.decisions)

    def canonical(self, actions: Sequence[int]) -> tuple[int, ...]:
        """They themselves: no two mean the same."""
        return tuple(actions)

    def digest(self, actions: Sequence[int]) -> str:
        """The genotype's digest."""
        return self.decode(actions).digest

    def decode(self, actions: Sequence[int]) -> MacroGenotype:
        """The network that these actions stand for.

        Raises:
            InvalidGenotypeError: naming the decision that is out of range.
        """
        check_whole(self, actions)
        taken = iter(actions)
        layers: list[MacroLayer] = []
        for number in range(1, self.config.layers + 1):
            operation = self.config.operations[next(taken)]
            skips = tuple(source for source in self.config.sources(number) if next(taken))
            layers.append(MacroLayer(operation, skips))
        return MacroGenotype(tuple(layers))

    def encode(self, genotype: MacroGenotype) -> tuple[int, ...]:
        """The actions that decode to exactly this genotype.

        Raises:
            InvalidGenotypeError: where the space does not contain it; names the layer.
        """
        genotype.validate()
        if len(genotype.layers) != self.config.layers:
            raise InvalidGenotypeError(
                f"{len(genotype.layers)} layers, but the space has {self.config.layers}"
            )
        actions: list[int] = []
        for number, layer in enumerate(genotype.layers, start=1):
            sources = self.config.sources(number)
            if layer.skips != tuple(source for source in sources if source in layer.skips):
                raise InvalidGenotypeError(
                    f"layer {number}: skips {list(layer.skips)} are not some of "
                    f"{list(sources)}, in this order"
                )
            if layer.operation not in self.config.operations:
                raise InvalidGenotypeError(
                    f"layer {number}: the space has no operation {layer.operation!r}"
                )
            actions.append(self.config.operations.index(layer.operation))
            actions += [int(source in layer.skips) for source in sources]
        return tuple(actions)
