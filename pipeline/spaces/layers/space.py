"""The NAS search space: a network layer by layer (arXiv:1611.01578, sections 3.2 and 3.3)."""

from collections.abc import Sequence

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces.base import Anchor, Decision, NextInput, Score, Turn, check_range
from pipeline.spaces.layers.config import LayerSpaceConfig
from pipeline.spaces.layers.genotype import Layer, LayerGenotype


class LayerSpace:
    """For each layer: filter height, width, strides where they are searched, number of filters.

    Then, for every layer before it, whether it is an input: a sigmoid of attention to that
    layer's anchor. The space is built at its greatest depth; the depth of a child is the number
    of its actions, which ``length`` lets grow with the search.
    """

    def __init__(self, config: LayerSpaceConfig) -> None:
        self.config = config
        strides = config.strides if len(config.strides) > 1 else ()
        self._choices = {
            "height": config.heights,
            "width": config.widths,
            **({"stride_height": strides, "stride_width": strides} if strides else {}),
            "filters": config.filters,
        }
        layers = range(config.most_layers)
        self.turns = tuple(turn for layer in layers for turn in self._turns(layer))
        self.decisions = tuple(decision for turn in self.turns for decision in turn.decisions)

    def _turns(self, layer: int) -> list[Turn]:
        turns = [Turn((Decision(kind, len(values)),)) for kind, values in self._choices.items()]
        skips = tuple(
            Decision("skip", 2, Score.SKIP, (j,)) for j in range(layer if self.config.skips else 0)
        )
        # what is fed after the anchor is not stated; the mean is ENAS' (general_controller.py)
        last = Turn(skips, NextInput.MEAN if skips else NextInput.START, Anchor.HIDDEN)
        return [*turns, last] if self.config.skips else turns

    def length(self, learned: int) -> int:
        """How many decisions a child has after that number of rewards was learned from."""
        return self._decisions_of(self.config.depth(learned))

    def _decisions_of(self, layers: int) -> int:
        skips = layers * (layers - 1) // 2 if self.config.skips else 0
        return layers * len(self._choices) + skips

    def canonical(self, actions: Sequence[int]) -> tuple[int, ...]:
        """The actions of the canonical genotype.

        They themselves, where that is not in the space: with poolings at fixed layers the order
        of layers says more than the graph.
        """
        try:
            return self.encode(self.decode(actions).canonical())
        except InvalidGenotypeError:
            return tuple(actions)

    def digest(self, actions: Sequence[int]) -> str:
        """The genotype's digest."""
        return self.decode(actions).digest

    @property
    def labels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Such as ``("layer 2, filters", ("24", "36"))``."""
        found: list[tuple[str, tuple[str, ...]]] = []
        for layer in range(1, self.config.most_layers + 1):
            for kind, values in self._choices.items():
                name = f"layer {layer}, {kind.replace('_', ' ')}"
                found.append((name, tuple(map(str, values))))
            if self.config.skips:
                found += [(f"layer {layer} reads {j}", ("no", "yes")) for j in range(1, layer)]
        return tuple(found)

    def decode(self, actions: Sequence[int]) -> LayerGenotype:
        """The network that these actions stand for; their number is its depth.

        A layer that was given no input reads the image (the paper's first repair); without skips
        it reads the layer before.

        Raises:
            InvalidGenotypeError: naming the decision that is out of range.
        """
        check_range(self, actions)
        taken = iter(actions)
        layers: list[Layer] = []
        for number in range(1, self._depth_of(len(actions)) + 1):
            values = {kind: of[next(taken)] for kind, of in self._choices.items()}
            if self.config.skips:
                inputs = tuple(j for j in range(1, number) if next(taken)) or (0,)
            else:
                inputs = (number - 1,)
            pool = 2 if number in self.config.pools else 1
            fixed = {f"stride_{side}": self.config.strides[0] for side in ("height", "width")}
            layers.append(Layer(**{**fixed, **values}, inputs=inputs, pool=pool))
        return LayerGenotype(tuple(layers))

    def _depth_of(self, actions: int) -> int:
        for layers in range(1, self.config.most_layers + 1):
            if self._decisions_of(layers) == actions:
                return layers
        raise InvalidGenotypeError(f"{actions} actions are those of no number of layers")

    def encode(self, genotype: LayerGenotype) -> tuple[int, ...]:
        """The actions that decode to exactly this genotype.

        Raises:
            InvalidGenotypeError: where the space does not contain it; names the layer.
        """
        genotype.validate()
        actions: list[int] = []
        for number, layer in enumerate(genotype.layers, start=1):
            for kind, values in self._choices.items():
                value = getattr(layer, kind)
                if value not in values:
                    raise InvalidGenotypeError(f"layer {number}: {kind} {value} is not searched")
                actions.append(values.index(value))
            if self.config.skips:
                actions += [int(j in layer.inputs) for j in range(1, number)]
        if len(genotype.layers) > self.config.most_layers or self.decode(actions) != genotype:
            raise InvalidGenotypeError("the space does not contain this network")
        return tuple(actions)
