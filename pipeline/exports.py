"""Networks for other programs: weights, ONNX, torch.export; each checked by reading it again."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.config_networks import AnyNetworkConfig
from pipeline.errors import NasnetError, UserError
from pipeline.genotype import Genotype

Format = Literal["json", "safetensors", "onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("json", "safetensors", "onnx", "pt2")
TOLERANCE = 1e-4  # relative and absolute, of a file's outputs
CHECKED = 3  # images that a file is checked with


@dataclass(frozen=True, slots=True)
class Exported:
    """A network and what it is."""

    genotype: Genotype
    config: AnyNetworkConfig | None
    network: nn.Module
    image_shape: tuple[int, int, int]
    classes: int
    weights: str = "random"  # or whose they are, for people

    @property
    def metadata(self) -> dict[str, str]:
        """What goes into a file beside the weights."""
        return {
            "genotype": self.genotype.to_json(),
            "network": "" if self.config is None else self.config.model_dump_json(),
            "image_shape": json.dumps(self.image_shape),
            "classes": str(self.classes),
            "weights": self.weights,
        }


class ExportError(NasnetError):
    """A file that was written does not say what the network says: a fault of ours."""


def write_genotype(genotype: Genotype, path: Path) -> None:
    """Write the architecture alone."""
    _write_whole(path, lambda file: file.write_text(genotype.to_json() + "\n"))


def write_network(exported: Exported, form: Format, path: Path) -> None:
    """Write a network; nothing is there unless the file says what the network says.

    Raises:
        UserError: the extra `export` is missing here.
        ExportError: outputs differ by more than a tolerance.
    """
    writers = {"safetensors": _write_safetensors, "onnx": _write_onnx, "pt2": _write_pt2}
    write = writers[form]
    network = exported.network.eval()
    images = torch.rand(CHECKED, *exported.image_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images)

    def write_and_check(file: Path) -> None:
        found = write(exported, file, images)
        if not torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
            difference = (found - expected).abs().max().item()
            raise ExportError(f"{form}: outputs differ by {difference:g} from the network's")

    try:
        _write_whole(path, write_and_check)
    except ImportError as error:
        raise UserError(f"--format {form} needs the extra `export`: {error}") from None


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Under another name until it is whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _write_safetensors(exported: Exported, path: Path, images: Tensor) -> Tensor:
    from safetensors.torch import load_file, save_file

    state = {name: tensor.contiguous() for name, tensor in exported.network.state_dict().items()}
    save_file(state, path, exported.metadata)
    exported.network.load_state_dict(load_file(path))
    return _outputs(exported.network, images)


def _outputs(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = network(images)
    return outputs


def _any_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch")},)


def _write_onnx(exported: Exported, path: Path, images: Tensor) -> Tensor:
    import onnxruntime

    torch.onnx.export(
        exported.network,
        (images[:2],),
        path,
        dynamo=True,
        dynamic_shapes=_any_batch(),
        external_data=False,
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _write_pt2(exported: Exported, path: Path, images: Tensor) -> Tensor:
    program = torch.export.export(
        exported.network, (images[:2],), dynamic_shapes=_any_batch(), strict=False
    )
    with path.open("wb") as file:
        torch.export.save(program, file)
    with path.open("rb") as file:
        return _outputs(torch.export.load(file).module(), images)
