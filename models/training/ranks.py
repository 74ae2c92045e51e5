"""The processes that train one model together: who this one is, how they meet, and what they tell each other.

RANK, WORLD_SIZE and LOCAL_RANK are read as torchrun sets them (and models/launch.py does); without them a process is
alone and never touches torch.distributed. Numbers and texts travel as plain tensors: no object collective, no pickle.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor

from models.config import InputError

PATIENCE = timedelta(hours=1)  # how long the others wait while rank 0 evaluates; a death is noticed at once


@dataclass(frozen=True)
class World:
    """This process among those that train one model."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on its machine: which GPU is its own

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size or self.local_rank < 0:
            raise InputError(f"RANK {self.rank} is not among WORLD_SIZE {self.size} processes")

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes curves, samples and results."""
        return self.rank == 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "World":
        """The world that torchrun describes; InputError when its variables are incomplete or no numbers."""
        found = [environment.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
        if found == [None, None, None]:
            return cls()
        try:
            numbers = [int(value or "") for value in found]
        except ValueError as error:
            said = dict(zip(("RANK", "WORLD_SIZE", "LOCAL_RANK"), found, strict=True))
            raise InputError(f"{said}: all three must be numbers; start several ranks with torchrun") from error
        return cls(*numbers)

    def device(self, chosen: torch.device) -> torch.device:
        """The device of this rank: its own GPU where the recipe chose CUDA."""
        if chosen.type != "cuda" or self.size == 1:
            return chosen
        if self.local_rank >= torch.cuda.device_count():
            raise InputError(
                f"local rank {self.local_rank} has no GPU of its own: {torch.cuda.device_count()} are seen"
            )
        return torch.device("cuda", self.local_rank)

    def rows(self, total: int) -> slice:
        """This rank's rows of a tensor that has `total`: equal pieces, the last ones shorter, as FSDP2 cuts them."""
        each = -(-total // self.size)
        return slice(min(self.rank * each, total), min((self.rank + 1) * each, total))


ALONE = World()


@contextmanager
def joined(world: World, device: torch.device) -> Iterator[None]:
    """The group of all ranks, for the block: gloo for what lies on the CPU, nccl for what lies on a GPU."""
    if world.size == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    meeting, *_ = next(rendezvous("env://", world.rank, world.size, timeout=PATIENCE))
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun's store still holds the dead ranks' addresses
    store = dist.PrefixStore(f"start {again}", meeting)
    dist.init_process_group(backend, store=store, rank=world.rank, world_size=world.size, timeout=PATIENCE)
    yield  # after an error the process ends: the others notice, and nothing here may wait for them
    dist.destroy_process_group()


def gathered(world: World, values: Sequence[float]) -> list[list[float]]:
    """Every rank's numbers (as many on each), by rank."""
    own = torch.tensor(list(values), dtype=torch.float64)
    if world.size == 1:
        return [own.tolist()]
    found = [torch.empty_like(own) for _ in range(world.size)]
    dist.all_gather(found, own)
    return [one.tolist() for one in found]


def told(world: World, value: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Every rank's JSON value, by rank."""
    if world.size == 1:
        return [value]
    own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world.size)]
    dist.all_gather(sizes, torch.tensor([len(own)]), group=group)
    longest = int(max(sizes))
    found = [torch.zeros(longest, dtype=torch.uint8) for _ in range(world.size)]
    dist.all_gather(found, torch.cat([own, own.new_zeros(longest - len(own))]), group=group)
    return [json.loads(bytes(one[: int(size)].tolist())) for one, size in zip(found, sizes, strict=True)]


def averaged(metrics: Mapping[str, Tensor | float], world: World) -> dict[str, float]:
    """Each figure's mean over ranks, the same on all of them."""
    found = gathered(world, [float(value) for value in metrics.values()])
    return {name: sum(one[place] for one in found) / world.size for place, name in enumerate(metrics)}


def summed(totals: Mapping[str, float], world: World) -> dict[str, float]:
    """Each count's sum over ranks, the same on all of them."""
    found = gathered(world, [float(value) for value in totals.values()])
    return {name: sum(one[place] for one in found) for place, name in enumerate(totals)}


def own_part(tensor: Tensor) -> Tensor:
    """The rows of a sharded tensor that lie here (a view); any other tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_part(tensor: Tensor) -> Tensor:
    """All rows of a sharded tensor, from all ranks, which must all ask; any other tensor as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(parameter: Tensor, rows: Tensor) -> Tensor:
    """A tensor of a parameter's shape, sharded as it is, of which these rows lie here; of no shards, the rows."""
    if not isinstance(parameter, DTensor):
        return rows
    shape, stride = parameter.shape, parameter.stride()
    return DTensor.from_local(rows, parameter.device_mesh, parameter.placements, shape=shape, stride=stride)
