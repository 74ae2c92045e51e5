"""How base models are evaluated, and how corpora are compared by training on them; no torch, no numpy."""

from dataclasses import dataclass

from models.frozen import InputError


@dataclass(frozen=True)
class BaseEvaluation:
    """What `python -m models evaluate-base` measures, each bounded so that it costs the same on any corpus."""

    documents: int = 300  # held-out documents, those whose hash is least
    group_documents: int = 5  # of a group by source at least; of fewer an interval over documents means nothing
    windows: int = 4  # of a document at most so many windows of the model's context are scored
    prompts: int = 64  # documents of each group whose continuation is looked at
    prompt_tokens: int = 32  # that the model is given of a document
    continuation_tokens: int = 16  # that it must continue verbatim
    questions: int = 120  # of each of the sets of spelling, counting and comparing
    probes: int = 120  # sequences for each number of shots of the copying probe
    shots: tuple[int, ...] = (1, 2, 4)  # times that a probe has shown what it asks for

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "shots" and value < 1:
                raise InputError(f"evaluation.{name} must be at least 1, got {value}")
        if not self.shots or min(self.shots) < 1:
            raise InputError(f"evaluation.shots must be numbers from 1 on, got {self.shots}")


@dataclass(frozen=True)
class Ablation:
    """How corpora are compared: small models, equal tokens, everything but the corpus pinned.

    The model and its optimizer are a profile of their own, so that a change of the recipe's base model moves no
    ablation. On one thread a run's figures do not depend on the machine's cores.
    """

    seeds: int  # trainings of each variant; an interval needs 2
    steps: int  # optimizer steps of each training
    batch_size: int = 16  # sequences a step
    seq_len: int = 128  # tokens a sequence
    learning_rate: float = 4e-3  # peak, AdamW for embeddings and head
    muon_learning_rate: float = 0.02  # peak, Muon for matrices of blocks: AdamW alone learns too little in so few steps
    warmup_steps: int = 10
    vocab_size: int = 2048  # of the one tokenizer, trained on the texts that no filter touched
    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    d_ff: int = 384
    heldout_fraction: float = 0.1  # of near-duplicate clusters, trained on by no variant
    heldout_documents: int = 150  # of each held-out set, those whose hash is least; seq_len tokens of each
    documents: int = 20_000  # of the lake, those whose hash is least: what is compared in memory

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise InputError(f"ablation.seeds must be at least 2, got {self.seeds}: one training has no interval")
        if not 0 < self.heldout_fraction < 1:
            raise InputError(f"ablation.heldout_fraction must lie between 0 and 1, got {self.heldout_fraction}")
        if self.d_model % self.n_heads or (self.d_model // self.n_heads) % 2:
            raise InputError(f"ablation.n_heads {self.n_heads} must divide d_model {self.d_model} into even heads")

    @property
    def tokens(self) -> int:
        """Tokens of every variant's training stream: what the steps read, and a window at either edge."""
        return (self.steps * self.batch_size + 2) * self.seq_len
