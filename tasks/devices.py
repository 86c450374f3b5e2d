"""What a machine can train on: its slots, and all that is particular to CUDA.

NASNET_DEVICES is a list such as ``cpu*2`` or ``cuda:0,cuda:1``; ``cuda:2+cuda:3`` is one slot of
two devices, ``cpu+cpu`` one of two processes. Nothing here imports torch unless a CUDA driver is
there to be asked.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.settings import LEAST_MEMORY


@dataclass(frozen=True, slots=True)
class SlotSpec:
    """One worker's devices."""

    name: str  # cpu-0, cuda-1, cuda-2+3
    kind: str
    indices: tuple[int, ...]  # of the CUDA devices; a CPU slot is its own number

    @property
    def devices(self) -> int:
        """How many devices a run gets here."""
        return len(self.indices)

    @property
    def device_names(self) -> str:
        """As the store shows them."""
        names = ("cpu" if self.kind == "cpu" else f"cuda:{i}" for i in self.indices)
        return "+".join(names)


def slot_specs(devices: str | None, threads: int = 1) -> list[SlotSpec]:
    """The slots of this machine.

    Args:
        devices: NASNET_DEVICES; None: each CUDA device once, else as many CPU slots as cores /
            threads and memory allow.

    Raises:
        UserError: the list cannot be understood.
    """
    if devices is not None:
        return _parse(devices)
    cuda = cuda_count()
    if cuda:
        return [SlotSpec(f"cuda-{i}", "cuda", (i,)) for i in range(cuda)]
    count = max(1, min(usable_cores() // threads, usable_memory() // LEAST_MEMORY))
    return [SlotSpec(f"cpu-{i}", "cpu", (i,)) for i in range(count)]


def _parse(devices: str) -> list[SlotSpec]:
    specs: list[SlotSpec] = []
    for item in devices.split(","):
        cpu = re.fullmatch(r"cpu(?:\*(\d{1,3}))?", item.strip())
        together = re.fullmatch(r"cpu(?:\+cpu)+", item.strip())
        cuda = re.fullmatch(r"cuda:\d+(?:\+cuda:\d+)*", item.strip())
        if cpu:
            first = sum(spec.devices for spec in specs if spec.kind == "cpu")
            specs += [
                SlotSpec(f"cpu-{i}", "cpu", (i,))
                for i in range(first, first + int(cpu.group(1) or 1))
            ]
        elif together:
            first = sum(spec.devices for spec in specs if spec.kind == "cpu")
            numbers = tuple(range(first, first + item.count("cpu")))
            specs.append(SlotSpec(f"cpu-{'+'.join(map(str, numbers))}", "cpu", numbers))
        elif cuda:
            indices = tuple(int(i) for i in re.findall(r"\d+", item))
            specs.append(SlotSpec(f"cuda-{'+'.join(map(str, indices))}", "cuda", indices))
        else:
            raise UserError(
                f"NASNET_DEVICES: {item.strip()!r} is not like cpu, cpu*2, cpu+cpu, "
                "cuda:0 or cuda:2+cuda:3"
            )
    used = Counter(i for spec in specs if spec.kind == "cuda" for i in spec.indices)
    for index, times in used.items():
        if times > 1:
            raise UserError(f"NASNET_DEVICES: cuda:{index} is named {times} times")
    if not specs:
        raise UserError("NASNET_DEVICES: names no device")
    return specs


def usable_cores() -> int:
    """Cores this process may run on."""
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


def usable_memory() -> int:
    """Bytes of memory there are, within the container's limit if it has one."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def cuda_count() -> int:
    """CUDA devices that can be used; torch is asked only where a driver's device file lies."""
    if not any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")):
        return 0
    import torch

    return torch.cuda.device_count()


def expose(spec: SlotSpec) -> None:
    """Let this process see its slot's devices only; before torch is imported."""
    if spec.kind == "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, spec.indices))
