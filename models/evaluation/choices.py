"""Questions with an exact answer among a few: spelling, counting, comparing numbers. Answered by likelihood alone.

Each set is a function of (version, n, seed). The candidates of a question could each be the answer of another question
that differs in its prompt alone, and are equally long; so whoever ignores the prompt is right by chance, whatever words
or digits it prefers, and chance is exactly 1 in the number of candidates. Of candidates that are equally likely each
counts its share.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer
from torch import nn

from models.data.tokenizer import END_OF_TEXT_ID
from models.evaluation.intervals import Estimate, bootstrap_mean, wilson
from models.evaluation.scoring import score
from models.seeds import derive

VERSION = 1
CANDIDATES = 4
WORDS = (
    "book door fish game hand home king lake moon name rain road ship snow time tree wind wood year song",
    "apple bread chair dream earth field glass horse house light money music night ocean paper river stone table water",
    "animal bridge castle dinner engine family garden island letter market mother number office people school summer",
)


@dataclass(frozen=True)
class Question:
    """A prompt, what may follow it, and which of these is right."""

    prompt: str
    candidates: tuple[str, ...]
    answer: int


def spelling(rng: np.random.Generator) -> Question:
    """Which of four words of one length was spelled out."""
    words = WORDS[rng.integers(len(WORDS))].split()
    four = rng.choice(words, size=CANDIDATES, replace=False)
    answer = int(rng.integers(CANDIDATES))
    return Question(f"The letters {'-'.join(four[answer])} spell the word", tuple(f" {word}" for word in four), answer)


def counting(rng: np.random.Generator) -> Question:
    """How often a word stands there; the candidates are four of the digits 1 to 9."""
    word = str(rng.choice(WORDS[0].split()))
    four = sorted(rng.choice(np.arange(1, 10), size=CANDIDATES, replace=False).tolist())
    answer = int(rng.integers(CANDIDATES))
    repeated = ", ".join([word] * four[answer])
    return Question(f"{repeated}. The number of words is", tuple(f" {count}" for count in four), answer)


def comparing(rng: np.random.Generator) -> Question:
    """Which of two numbers of two digits is the greater, or the smaller."""
    two = rng.choice(np.arange(10, 100), size=2, replace=False).tolist()
    asked = ("greater", "smaller")[rng.integers(2)]
    answer = two.index(max(two) if asked == "greater" else min(two))
    return Question(f"Of {two[0]} and {two[1]} the {asked} number is", tuple(f" {one}" for one in two), answer)


SETS: dict[str, Callable[[np.random.Generator], Question]] = {
    "spelling": spelling,
    "counting": counting,
    "comparing": comparing,
}


def questions(name: str, n: int, seed: int) -> list[Question]:
    """The first n questions of a set."""
    return [SETS[name](np.random.default_rng(derive(seed, "choices", VERSION, name, i))) for i in range(n)]


def described(name: str, made: Sequence[Question]) -> dict[str, str | int]:
    """What names a set of questions: a record of it in place of the questions themselves."""
    content = json.dumps([[one.prompt, one.candidates, one.answer] for one in made]).encode()
    return {"set": f"{name}@{VERSION}", "questions": len(made), "sha256": hashlib.sha256(content).hexdigest()}


def chance(made: Sequence[Question]) -> float:
    """Accuracy of whoever ignores the prompts."""
    return float(np.mean([1 / len(one.candidates) for one in made]))


def accuracy(model: nn.Module, tokenizer: Tokenizer, made: Sequence[Question], sizes: np.ndarray) -> Estimate:
    """Share of the questions whose right candidate is the likeliest continuation of the prompt, token by token."""
    windows, asked = [], []
    for question in made:
        prompt = [END_OF_TEXT_ID, *tokenizer.encode(question.prompt).ids]
        for candidate in question.candidates:
            windows.append(np.array(prompt + tokenizer.encode(candidate).ids, dtype=np.int64))
            asked.append(len(prompt) - 1)
    nats = [float(one.nats_T[first:].sum()) for one, first in zip(score(model, windows, sizes), asked, strict=True)]
    credits, begin = [], 0
    for question in made:
        own = np.array(nats[begin : begin + len(question.candidates)])
        begin += len(own)
        best = own <= own.min() + 1e-6  # closer than rounding in a batch moves them
        credits.append(float(best[question.answer] / best.sum()))
    if all(credit in (0.0, 1.0) for credit in credits):
        return wilson(int(sum(credits)), len(credits))
    return bootstrap_mean(credits)
