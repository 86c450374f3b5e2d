"""ENAS' macro networks: one child, or all of a space with shared weights.

arXiv:1802.03268, section 2.3; the released code where the paper is silent: melodyguan/enas
src/cifar10/general_child.py. Operations have the form of its search (_conv_branch,
_pool_branch), also in networks that stand alone: in the code's fixed networks separable
convolutions are full ones, and poolings are missing.
"""

from collections.abc import Iterable

from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.networks.initialize import initialize
from pipeline.networks.inputs import Inputs
from pipeline.networks.layers import FactorizedReduction, Layers
from pipeline.networks.state import State
from pipeline.spaces.macro.config import MacroNetworkConfig, MacroSpaceConfig
from pipeline.spaces.macro.genotype import MacroGenotype


class MacroNetwork(nn.Module):
    """A stem, layers in a chain with skips, their mean over all pixels, a classifier.

    A layer applies its operation to the output before it; from the second layer on the result is
    joined with the outputs that it skips to and normalised. Joining is, by ``config.skip``:

    - ``concat``: ReLU and a 1x1 convolution of the concatenation, which is the sum of one 1x1
      convolution for each part. So its weights can be shared: they belong to (layer, output).
    - ``sum``: the sum of the parts.

    Args:
        choices: a genotype, to build its choices alone; or a space, to build all there are. The
            weights of a child that stands alone are some of the supernet's, by the same names.

    Raises:
        UserError: the maps are halved after a layer that there is not.
    """

    def __init__(
        self,
        config: MacroNetworkConfig,
        choices: MacroGenotype | MacroSpaceConfig,
        inputs: Inputs,
    ) -> None:
        super().__init__()
        self.only = only = choices if isinstance(choices, MacroGenotype) else None
        layers = choices.layers if isinstance(choices, MacroSpaceConfig) else len(choices.layers)
        reductions = config.reductions_of(layers)
        if any(number > layers for number in reductions):
            raise UserError(f"network.reductions: {list(reductions)}, but {layers} layers")
        self.concatenates = config.skip == "concat"
        make = Layers(norm_decay=config.norm_decay, norm_epsilon=config.norm_epsilon)
        filters = config.filters
        self.stem = nn.Sequential(make.conv(inputs.shape[0], filters, (3, 3)), make.norm(filters))
        # by layer: operations by name, the rest by the outputs that are read
        self.ops, self.src = nn.ModuleDict(), nn.ModuleDict()
        self.norms, self.reductions = nn.ModuleDict(), nn.ModuleDict()
        for number in range(1, layers + 1):
            layer = only.layers[number - 1] if only else None
            every = choices.operations if isinstance(choices, MacroSpaceConfig) else ()
            built = (layer.operation,) if layer else every
            self.ops[str(number)] = _modules(
                (name, _operation(make, name, filters)) for name in built
            )
            if number > 1:
                self.norms[str(number)] = make.norm(filters)
            if number > 1 and self.concatenates:
                joined = (*layer.skips, number) if layer else range(number + 1)
                self.src[str(number)] = _modules((n, make.conv(filters, filters)) for n in joined)
            if number in reductions:
                read = only.read_after(number) if only else range(number + 1)
                wide = 2 * filters if config.widen else filters
                self.reductions[str(number)] = _modules(
                    (n, FactorizedReduction(make, filters, wide)) for n in read
                )
                filters = wide
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(filters, inputs.classes, bias=False)
        initialize(self, "fan_in")

    def forward(self, x: Tensor, genotype: MacroGenotype | None = None) -> Tensor:
        """Images (N, channels, H, W) -> logits (N, classes) of one child: of ``only`` by default.

        The genotype is the space's own, not its canonical form.
        """
        child = genotype or self.only
        if child is None:
            raise ValueError("a supernet runs one child: say which")
        states = {0: State(self.stem(x))}
        for number, layer in enumerate(child.layers, start=1):
            operation = self.ops.get_submodule(f"{number}.{layer.operation}")
            states[number] = State(operation(states[number - 1].plain))
            if number > 1:
                joined = [(source, states[source]) for source in (*layer.skips, number)]
                states[number] = State(self._joined(number, joined))
            if str(number) in self.reductions:
                states = {
                    source: State(
                        self.reductions.get_submodule(f"{number}.{source}")(states[source].plain)
                    )
                    for source in child.read_after(number)
                }
        last = states[len(child.layers)].plain
        logits: Tensor = self.classifier(self.dropout(last.mean((2, 3))))
        return logits

    def _joined(self, number: int, parts: list[tuple[int, State]]) -> Tensor:
        """A layer's own result and the outputs that it skips to, as one normalised map."""
        if self.concatenates:
            maps = [
                self.src.get_submodule(f"{number}.{source}")(state.activated)
                for source, state in parts
            ]
        else:
            maps = [state.plain for _, state in parts]
        total = maps[0]
        for part in maps[1:]:
            total = total + part
        normalised: Tensor = self.norms[str(number)](total)
        return normalised


def _modules(made: Iterable[tuple[object, nn.Module]]) -> nn.ModuleDict:
    return nn.ModuleDict({str(name): module for name, module in made})


def _operation(make: Layers, name: str, filters: int) -> nn.Sequential:
    """A 1x1 convolution, then what the name says, each with batch norm and ReLU."""
    first = [make.conv(filters, filters), make.norm(filters), nn.ReLU()]
    if name == "avg_pool_3x3":
        return nn.Sequential(*first, make.average_pool(3, 1))
    if name == "max_pool_3x3":
        return nn.Sequential(*first, make.max_pool(3, 1))
    side = int(name[-1])
    kernel = (side, side)
    convolutions = (
        [make.conv(filters, filters, kernel, groups=filters), make.conv(filters, filters)]
        if name.startswith("sep")
        else [make.conv(filters, filters, kernel)]
    )
    return nn.Sequential(*first, *convolutions, make.norm(filters), nn.ReLU())


def build(
    genotype: MacroGenotype,
    config: MacroNetworkConfig,
    inputs: Inputs,
) -> MacroNetwork:
    """A genotype's network, weights at random."""
    return MacroNetwork(config, genotype, inputs)


def build_shared(
    space: MacroSpaceConfig,
    config: MacroNetworkConfig,
    inputs: Inputs,
) -> MacroNetwork:
    """The supernet of a space, weights at random."""
    return MacroNetwork(config, space, inputs)
