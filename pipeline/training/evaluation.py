"""What a network says of images: normalised as it was trained, and counted."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.data.datasets import ImageData
from pipeline.data.image_files import ImageFiles
from pipeline.training.device import autocast
from pipeline.training.problem import Batch

EVALUATION_BATCH = 250


class Normalize:
    """Bytes to floats of mean 0 and deviation 1 per channel, channels last."""

    def __init__(self, data: ImageData | ImageFiles, device: torch.device) -> None:
        shape = (1, len(data.mean), 1, 1)
        scale = [1 / (255 * std) for std in data.std]
        shift = [-mean / std for mean, std in zip(data.mean, data.std, strict=True)]
        self.scale = torch.tensor(scale, device=device).view(shape)
        self.shift = torch.tensor(shift, device=device).view(shape)

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> float32."""
        floats = torch.addcmul(self.shift, images.float(), self.scale)
        return floats.contiguous(memory_format=torch.channels_last)


def evaluate(
    network: nn.Module,
    batches: Iterable[Batch],
    device: torch.device,
    on_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Accuracy and loss of a network; leaves it in eval mode.

    A batch is images (N, C, H, W), normalised, and labels (N,), on the device; ``on_batch`` is
    called after each.

    Returns:
        ``accuracy``, the share (0 to 1) of images whose label is found; ``loss``, their mean
        cross-entropy without label smoothing, which may not be finite.
    """
    network.eval()
    correct = torch.zeros((), dtype=torch.int64, device=device)
    loss = torch.zeros((), device=device)
    count = 0
    for images, labels in batches:
        with torch.inference_mode(), autocast(device):
            logits = network(images)
            correct += (logits.argmax(1) == labels).sum()
            loss += cross_entropy(logits, labels, reduction="sum")
        count += len(labels)
        on_batch()
    return {"accuracy": correct.item() / count, "loss": loss.item() / count}
