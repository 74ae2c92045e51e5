"""What a training run holds in memory, part by part, said before it begins.

Weights, gradients and moments are exact. Activations are what autograd keeps of one step's rows for the backward pass,
counted from what blocks of every kind were seen to keep (`_kept`), within a seventh (tests/models/test_memory.py). Not
counted: a bfloat16 copy of the weights on a GPU, and there the host's copy for states. No torch here.
"""

from collections.abc import Mapping
from pathlib import Path

from models.architecture import FULL, LSTM, MAMBA, NONE, SLIDING, WINDOW, TransformerConfig
from models.config import InputError, PretrainRecipe

GIB = 2**30
CHUNK_OF_LOGITS = {"cuda": 256 << 20, "cpu": 32 << 20}  # kernels/device/logprobs.py
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def parts(config: TransformerConfig, recipe: PretrainRecipe, *, ranks: int = 1, device: str = "cpu") -> dict[str, int]:
    """Bytes that one rank holds on its device, by part. On the CPU also the copy that a state is written from."""
    sharded = ranks if recipe.parallel == "fsdp" else 1
    weights = 4 * config.n_params
    on_matrices = 4 * sum(config.matrices(kind) for kind in config.kinds)  # Muon: one moment, elsewhere two
    moments = 2 * weights - (on_matrices if recipe.optimizer == "muon" else 0)
    width = 2 if device == "cuda" else 4  # bytes of an activation
    rows = -(-recipe.batch_size // ranks)
    tokens = min(rows, recipe.micro_batch_size or rows) * recipe.seq_len
    blocks = [_kept(config, kind) for kind in config.kinds]
    kept = config.d_model * config.n_layers + max(blocks) if recipe.activation_checkpointing else sum(blocks)
    found = {
        "weights": weights // sharded,
        "gradients": weights // sharded,
        "moments": moments // sharded,
        "activations": tokens * width * kept,
        "logits": _logits(config, recipe, tokens, device),
    }
    return found if device == "cuda" else {**found, "the copy for states": (weights + moments) // ranks}


def check(
    config: TransformerConfig, recipe: PretrainRecipe, *, ranks: int = 1, device: str = "cpu", bytes_there: int
) -> None:
    """InputError with the arithmetic when a run needs more than there is for one rank."""
    found = parts(config, recipe, ranks=ranks, device=device)
    if sum(found.values()) <= bytes_there:
        return
    said = " + ".join(f"{name} {_gib(size)}" for name, size in found.items())
    raise InputError(
        f"this run does not fit: {said} = {_gib(sum(found.values()))} GiB, and {_gib(bytes_there)} GiB are there for "
        f"each of {ranks} ranks; {_advice(found, recipe)}"
    )


def host_bytes(ranks: int = 1, limits: Mapping[str, str] | None = None) -> int | None:
    """What is free for one of so many ranks on this machine: the least of the kernel's figure and of the limits set.

    limits: texts of the files of LIMITS and /proc/meminfo, for tests. None where the system does not say.
    """
    read = limits if limits is not None else {name: _text(name) for name in (*LIMITS, "/proc/meminfo")}
    available = [line.split()[1] for line in read.get("/proc/meminfo", "").splitlines() if line.startswith("MemAvail")]
    bounds = [1024 * int(found) for found in available]
    bounds += [int(text) for name in LIMITS if (text := read.get(name, "").strip()).isdecimal()]
    return min(bounds) // ranks if bounds else None


def _kept(config: TransformerConfig, kind: str) -> int:
    """Numbers that a block keeps of a token: inputs and outputs of norms, of the mixer and of the feed-forward part."""
    d, heads, kv = config.d_model, config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    attention = d + 4 * (heads + kv) + heads
    mixer = {
        FULL: attention,
        SLIDING: attention,
        MAMBA: config.inner * (3 * config.d_state + 14) + 4 * d,
        LSTM: 20 * d,
        WINDOW: (config.window + 4) * d,
        NONE: 0,
    }[kind]
    return mixer + (3 * d + 4 * config.d_ff if config.d_ff else 0)


def _logits(config: TransformerConfig, recipe: PretrainRecipe, tokens: int, device: str) -> int:
    """Materialised: the logits, their gradient and one temporary of their size; else a chunk, in float32."""
    whole = 4 * tokens * config.vocab_size
    return min(whole, CHUNK_OF_LOGITS[device]) if recipe.head == "chunked" else 3 * whole


def _advice(found: Mapping[str, int], recipe: PretrainRecipe) -> str:
    """What to change for the largest part."""
    largest = max(found, key=lambda name: found[name])
    if largest == "logits" and recipe.head == "materialised":
        return "set pretrain.head to chunked"
    if largest == "activations":
        fewer = "lower pretrain.micro_batch_size (rows at once; the same gradient)"
        return fewer if recipe.activation_checkpointing else f"set pretrain.activation_checkpointing, or {fewer}"
    if recipe.parallel == "ddp":
        return "take a smaller recipe, or shard it over GPUs (pretrain.parallel fsdp, optimizer adamw, more ranks)"
    return "take a smaller recipe or more ranks"


def _gib(size: int) -> str:
    return f"{size / GIB:.2f}"


def _text(name: str) -> str:
    path = Path(name)
    return path.read_text() if path.is_file() else ""
