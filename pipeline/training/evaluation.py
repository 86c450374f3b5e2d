"""What a network says of images: normalised as it was trained, and counted."""

import torch
from torch import Tensor, nn

from pipeline.training.datasets import ImageData

EVALUATION_BATCH = 250


class Normalize:
    """Bytes to floats of mean 0 and deviation 1 per channel, channels last."""

    def __init__(self, data: ImageData, device: torch.device) -> None:
        shape = (1, len(data.mean), 1, 1)
        scale = [1 / (255 * std) for std in data.std]
        shift = [-mean / std for mean, std in zip(data.mean, data.std, strict=True)]
        self.scale = torch.tensor(scale, device=device).view(shape)
        self.shift = torch.tensor(shift, device=device).view(shape)

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> float32."""
        floats = torch.addcmul(self.shift, images.float(), self.scale)
        return floats.contiguous(memory_format=torch.channels_last)


def evaluate(network: nn.Module, images: Tensor, labels: Tensor, normalize: Normalize) -> float:
    """The share (0 to 1) of images whose label is found; leaves the network in eval mode.

    All on one device: images (N, C, H, W) uint8, labels (N,) int64.
    """
    network.eval()
    correct = torch.zeros((), dtype=torch.int64, device=labels.device)
    with torch.inference_mode(), autocast(labels.device):
        batches = zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True)
        for some_images, some_labels in batches:
            correct += (network(normalize(some_images)).argmax(1) == some_labels).sum()
    return correct.item() / len(labels)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on CUDA; on a CPU it is slower than float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
