"""Every frozen configuration of the models room: the architecture, one recipe per stage, and the recipe of a whole run.

A recipe is complete: nothing about a run is decided elsewhere. No torch here, so the control plane reads it cheaply.
"""

from dataclasses import dataclass, field
from typing import Literal

from models.architecture import TransformerConfig
from models.evaluation.settings import Ablation, BaseEvaluation
from models.frozen import OPTION, InputError, as_dict, from_dict, override

__all__ = [
    "OPTION", "Ablation", "BaseEvaluation", "InputError", "PretrainRecipe", "QualityConfig", "Recipe", "RlRecipe",
    "SelectionRecipe", "SftRecipe", "SynthesisRecipe", "TasksRecipe", "TransformerConfig", "as_dict", "from_dict",
    "override",
]  # fmt: skip


@dataclass(frozen=True)
class QualityConfig:
    """How the quality classifier is fitted and cross-validated (models/text/quality.py)."""

    strength: float = 10.0  # weight of the texts against the penalty, 1/2 of the sum of squared weights
    folds: int = 5
    seeds: int = 5  # divisions into folds
    least: int = 20  # texts of either label; with fewer the packaged weights stand in for trained ones
    most: int = 1000  # texts of either label; of more, those whose hash is least

    def __post_init__(self) -> None:
        if not 2 <= self.folds <= self.least <= self.most or self.seeds < 1 or self.strength <= 0:
            raise InputError("QualityConfig: needs 2 folds, as many texts, 1 seed and a strength above 0")


def _check_head(stage: str, head: str) -> None:
    if head not in ("materialised", "chunked"):
        raise InputError(f"{stage}.head must be materialised or chunked, got {head!r}")


@dataclass(frozen=True)
class PretrainRecipe:
    """How a base model is trained on token shards."""

    steps: int  # optimizer steps
    batch_size: int  # sequences a step
    seq_len: int  # tokens a sequence that are predicted; the model sees seq_len, the loader reads seq_len + 1
    learning_rate: float  # peak, AdamW
    warmup_steps: int  # linear from 0
    schedule: Literal["cosine", "wsd"] = "wsd"
    cooldown_fraction: float = 0.5  # wsd: last part of the steps, linear to final_lr_fraction
    final_lr_fraction: float = 0.05  # of the peak, at the last step
    weight_decay: float = 0.1  # on matrices of the blocks and the head; never on norms and embeddings
    beta1: float = 0.9
    beta2: float = 0.95
    adam_eps: float = 1e-8
    grad_clip: float = 1.0  # global L2 norm; 0 switches it off
    z_loss: float = 1e-5  # weight of the squared log partition function
    eval_every: int = 100  # steps between bits per byte on held-out documents
    eval_max_tokens: int = 16_384  # held-out tokens used while training; the final figure uses all of them
    sample_every: int = 100  # steps between text samples
    sample_tokens: int = 48  # length of a text sample
    checkpoint_every: int = 100  # steps between resumable states; the last two are kept
    log_every: int = 10  # steps between lines of the training curve
    device: Literal["cpu", "cuda", "auto"] = "cpu"  # cuda computes in bfloat16 under autocast
    optimizer: Literal["adamw", "muon"] = field(default="adamw", metadata=OPTION)  # muon: with AdamW where it must be
    muon_learning_rate: float = field(default=0.02, metadata=OPTION)  # peak for matrices of blocks; learning_rate else
    skip_spikes: bool = field(default=False, metadata=OPTION)  # models/training/spikes.py
    packing: Literal["windows", "best_fit"] = field(default="windows", metadata=OPTION)  # models/data/packing.py
    document_masking: bool = field(default=False, metadata=OPTION)  # best_fit: a token sees its own document alone
    head: Literal["materialised", "chunked"] = field(default="materialised", metadata=OPTION)  # chunked: few logits
    parallel: Literal["ddp", "fsdp"] = field(default="ddp", metadata=OPTION)  # of several ranks: fsdp shards weights
    micro_batch_size: int = field(default=0, metadata=OPTION)  # rows that a rank holds at once; 0: all of its rows
    activation_checkpointing: bool = field(default=False, metadata=OPTION)  # a third more time, far less memory
    compiled: bool = field(default=False, metadata=OPTION)  # blocks by torch.compile

    def __post_init__(self) -> None:
        _check_head("pretrain", self.head)
        choices = {"optimizer": ("adamw", "muon"), "packing": ("windows", "best_fit"), "parallel": ("ddp", "fsdp")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"pretrain.{name} must be {' or '.join(known)}, got {getattr(self, name)!r}")
        if self.document_masking and self.packing != "best_fit":
            raise InputError("pretrain.document_masking needs pretrain.packing best_fit: windows do not know documents")
        if self.micro_batch_size < 0:
            raise InputError(f"pretrain.micro_batch_size must be 0 or more, got {self.micro_batch_size}")


@dataclass(frozen=True)
class SftRecipe:
    """How an instruct model is trained on rendered conversations."""

    steps: int  # optimizer steps
    batch_size: int  # examples a step
    learning_rate: float  # peak, AdamW
    warmup_steps: int  # linear from 0
    schedule: Literal["cosine", "wsd"] = "wsd"
    cooldown_fraction: float = 0.5  # wsd: last part of the steps, linear to final_lr_fraction
    final_lr_fraction: float = 0.05  # of the peak, at the last step
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    adam_eps: float = 1e-8
    grad_clip: float = 1.0  # global L2 norm; 0 switches it off
    heldout_fraction: float = 0.1  # of problems, by hash of problem_id; never trained on
    max_new_tokens: int = 24  # longest answer when accuracy is measured
    eval_every: int = 100  # steps between accuracies on held-out problems
    eval_problems: int = 96  # held-out problems while training; the final figure uses all of them
    eval_samples: int = 2  # sampled answers per problem beside the greedy one
    checkpoint_every: int = 100  # steps between resumable states
    log_every: int = 10  # steps between lines of the training curve
    device: Literal["cpu", "cuda", "auto"] = "cpu"  # cuda computes in bfloat16 under autocast
    head: Literal["materialised", "chunked"] = field(default="materialised", metadata=OPTION)  # chunked: few logits

    def __post_init__(self) -> None:
        _check_head("sft", self.head)


@dataclass(frozen=True)
class RlRecipe:
    """How a policy is trained on verifiable problems."""

    steps: int  # optimizer steps
    prompts_per_step: int  # problems per draw of rollouts
    group_size: int  # answers per problem; at least 2, they are compared with each other
    max_new_tokens: int  # longest answer, its end token included
    learning_rate: float  # peak, AdamW
    warmup_steps: int = 5  # linear from 0
    final_lr_fraction: float = 0.1  # of the peak, at the last step
    cooldown_fraction: float = 0.5  # last part of the steps, linear to final_lr_fraction
    algorithm: Literal["dr_grpo", "grpo", "dapo", "rloo", "gspo"] = "dr_grpo"  # models/objectives/algorithms.py
    updates_per_draw: int = 1  # optimizer steps on one draw, each on its own problems; 1 is on-policy
    kl_beta: float = 0.0  # weight of the KL to the parent model; 0 loads no reference
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    adam_eps: float = 1e-8
    grad_clip: float = 1.0  # global L2 norm; 0 switches it off
    max_logprob_gap: float = 0.01  # nats per token between sampler and trainer on fresh samples; more is an error
    eval_every: int = 20  # steps between accuracies on held-out problems
    eval_problems: int = 96  # held-out problems while training; the final figures use all of them
    eval_samples: int = 4  # sampled answers per problem beside the greedy one
    record_every: int = 20  # steps between rollout records
    checkpoint_every: int = 20  # steps between resumable states; a multiple of updates_per_draw
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    head: Literal["materialised", "chunked"] = field(default="materialised", metadata=OPTION)  # chunked: few logits

    def __post_init__(self) -> None:
        _check_head("rl", self.head)
        if self.group_size < 2:
            raise InputError(f"rl.group_size must be at least 2, got {self.group_size}: one sample has no comparison")
        if self.updates_per_draw < 1 or self.prompts_per_step % self.updates_per_draw:
            raise InputError(
                f"rl.updates_per_draw {self.updates_per_draw} must divide prompts_per_step {self.prompts_per_step}"
            )
        if self.checkpoint_every % self.updates_per_draw:
            raise InputError(
                f"rl.checkpoint_every {self.checkpoint_every} must be a multiple of updates_per_draw"
                f" {self.updates_per_draw}: a state lies between draws"
            )


@dataclass(frozen=True)
class SynthesisRecipe:
    """Which problems a teacher is asked, and how the procedural teacher errs."""

    families: tuple[str, ...]  # models/tasks/families.py; the most frequent first
    problems: int  # distinct problems, one candidate each
    zipf: float  # the family of rank r gets a share proportional to r^-zipf; 0 is uniform
    level_shares: tuple[float, float, float]  # of levels 1, 2, 3 within a family
    votes: int = 3  # solutions per problem; more than half must agree
    error_rate: float = 0.2  # of one procedural solution, mean over families
    error_skew: float = 0.5  # the first family errs (1 + skew) times the rate, the last (1 - skew) times
    typical_share: float = 0.5  # of the errors: the problem's typical mistake, the same each time
    temperature: float = 0.75  # of teachers that sample
    max_tokens: int = 64  # longest solution of a teacher that samples


@dataclass(frozen=True)
class SelectionRecipe:
    """How diverse candidates are selected by the gradients of the base model."""

    dim: int  # numbers a gradient is projected to, a multiple of 64
    start_fraction: float  # of the valid candidates: the random pool that selection begins with
    rounds: int  # equal batches that the other candidates are offered in
    k_fraction: float  # clusters per row of the pool
    keep_fraction: float  # of the clusters, by size from below, that may count as sparse
    target: int  # rows at which selection stops; it can end with fewer
    random_draws: int = 10  # random subsets of the same size that the selection is compared with


@dataclass(frozen=True)
class TasksRecipe:
    """Problems for reinforcement learning, families equally frequent."""

    families: tuple[str, ...]
    train: int  # problems to train on
    heldout: int  # problems to measure on
    level_shares: tuple[float, float, float]  # of levels 1, 2, 3 within a family


@dataclass(frozen=True)
class Recipe:
    """One whole run, all stages; functions in models/recipes.py return it."""

    name: str
    seed: int  # of every draw in every stage
    threads: int  # CPU threads of torch; part of the recipe because it decides the order of float sums
    vocab_size: int  # asked of the tokenizer's training; a small corpus can yield fewer
    heldout_fraction: float  # of near-duplicate clusters, never trained on
    model: TransformerConfig  # vocab_size is replaced by the trained tokenizer's
    pretrain: PretrainRecipe
    synthesis: SynthesisRecipe
    selection: SelectionRecipe
    sft: SftRecipe
    tasks: TasksRecipe
    rl: RlRecipe
    evaluation: BaseEvaluation = field(default_factory=BaseEvaluation)
    ablation: Ablation = field(default_factory=lambda: Ablation(seeds=5, steps=120))
