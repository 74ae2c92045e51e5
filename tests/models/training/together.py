"""Several ranks on this machine, as torchrun would start them, and what tests let them do.

They are forked from a server that has loaded the modules already: a rank costs no seconds of imports.
"""

import json
import multiprocessing
import os
import socket
from collections.abc import Callable, Sequence
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from models.config import TransformerConfig
from models.nets.transformer import Transformer
from models.training import pretrain
from models.training.loop import LoopSettings, train
from models.training.losses import Loss, token_loss
from models.training.optim import NonFiniteTraining, Schedule, adamw
from models.training.ranks import World, joined, whole_part
from models.training.spread import spread
from models.training.states import StateWriter, snapshot

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.models.training.together"])
LIMIT_S = 300
TINY = TransformerConfig(
    vocab_size=97, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=64, max_seq_len=16
)


def begun(world: int, work: Callable[..., None], *arguments: Any) -> Sequence[BaseProcess]:
    """Starts `work(*arguments)` on so many ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [FORKED.Process(target=_rank, args=(rank, world, port, work, arguments)) for rank in range(world)]
    for process in ranks:
        process.start()
    return ranks


def together(world: int, work: Callable[..., None], *arguments: Any) -> list[int | None]:
    """Runs `work(*arguments)` on so many ranks to its end; their exit codes. Whoever hangs is killed and has none."""
    ranks = begun(world, work, *arguments)
    for process in ranks:
        process.join(LIMIT_S)
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        process.kill()
    return codes


def _rank(rank: int, world: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    work(*arguments)


def pretrained(config: dict[str, Any], out: Path) -> None:
    """The `pretrain` command."""
    pretrain.run(config, out, lambda _: None)


def broken_at(step: int, parallel: str, value: float, out: Path) -> None:
    """Trains until rank 1's second block gives `value` once, at that step; writes what each rank says of it."""
    world = World.from_environment(os.environ)
    with joined(world, torch.device("cpu")):
        model = Transformer(TINY, seed=1)
        held: dict[str, Any] = {"step": -1}

        def batch_at(at: int) -> torch.Tensor:
            held["step"], held["weights"] = at, [whole_part(w.detach()).clone() for w in model.parameters()]
            rows = torch.randint(0, TINY.vocab_size, (4, 17), generator=torch.Generator().manual_seed(at))
            return rows[world.rank :: world.size]

        def spoilt(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
            return output * value if held["step"] == step and world.rank == 1 else output

        model.get_submodule("blocks.1.mlp").register_forward_hook(spoilt)
        loss = spread(model, _next_token, world, parallel)  # type: ignore[arg-type]
        said = ""
        try:
            train(
                model,
                adamw(model, weight_decay=0.1),
                batch_at,
                loss,
                schedule=Schedule(0.01, 6, 1),
                settings=LoopSettings(checkpoint_every=1),
                workdir=out,
                identity={},
                describe=lambda at: f"rows {world.rank} of step {at}",
                world=world,
            )
        except NonFiniteTraining as error:
            said = str(error)
        same = [torch.equal(whole_part(w), held["weights"][i]) for i, w in enumerate(model.parameters())]
        (out / f"said-{world.rank}.json").write_text(json.dumps({"error": said, "untouched": all(same)}))


def saving(checkpoints: Path, acknowledged: Path) -> None:
    """Writes states without end, weights and moments filled with the step; each that is on disk is acknowledged."""
    world = World.from_environment(os.environ)
    with joined(world, torch.device("cpu")):
        model = Transformer(TINY)
        optimizer = adamw(model, weight_decay=0.0)
        with StateWriter(checkpoints, world, keep=2) as writer:
            for step in count(1):
                filled(model, optimizer, step)
                writer.save(snapshot(model, optimizer, step=step, world=world))
                writer.wait()
                if world.leads:
                    with acknowledged.open("a") as file:
                        file.write(f"{step}\n")


def filled(model: Transformer, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Gives every weight and both moments the value of the step."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(step)
            moments = {name: torch.full_like(weight, step) for name in ("exp_avg", "exp_avg_sq")}
            optimizer.state[weight] = {"step": torch.tensor(float(step)), **moments}


def _next_token(model: Transformer, batch: torch.Tensor) -> Loss:
    return token_loss(model(batch[:, :-1]), batch[:, 1:])
