"""Teachers solve problems: a procedural one that knows the answer and errs on purpose, and a local checkpoint.

The third, an OpenAI-compatible server, is in models/tasks/server.py. What a teacher returns is untrusted text: it
is cut at MAX_SOLUTION_CHARS, stripped of what is not valid Unicode, refused when it holds a chat marker, and never
evaluated.

Solution i of a problem is drawn with solution_seed(seed, problem_id, i), so a solution does not depend on which other
problems were asked, in which order or in how many batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from models.config import InputError
from models.seeds import derive
from models.tasks.families import Problem
from models.tasks.verify import final_answer

MAX_SOLUTION_CHARS = 4000
CHAT_MARKERS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|pad|>")
NO_IDEA = "I do not know."


@dataclass(frozen=True)
class Solution:
    """One solution. `answer` is the raw final answer, None when there is none that may be counted."""

    text: str
    answer: str | None
    seed: int


class Teacher(Protocol):
    """Anything that solves problems."""

    @property
    def name(self) -> str:
        """Names the teacher in every row it made: what it is, never where it runs."""
        ...

    @property
    def version(self) -> str | None:
        """Which version of it; None where it does not say."""
        ...

    @property
    def checkpoint(self) -> str | None:
        """Digest of the checkpoint, where the teacher is a model of ours."""
        ...

    def solve(self, problems: Sequence[Problem], n_solutions: int, seed: int) -> list[list[Solution]]:
        """n_solutions for each problem, in the order of the problems."""
        ...


def solution_seed(seed: int, problem_id: str, index: int) -> int:
    """The seed of one solution, 31 bits (servers take signed 32-bit seeds)."""
    return derive(seed, "solution", problem_id, index) >> 32


def received(text: str, seed: int, *, complete: bool = True) -> Solution:
    """A solution from untrusted text. One that was cut off, or that holds a chat marker, has no answer."""
    clean = text.encode("utf-8", "replace").decode().replace("\0", "").strip()
    sound = complete and len(clean) <= MAX_SOLUTION_CHARS and not any(marker in clean for marker in CHAT_MARKERS)
    for marker in CHAT_MARKERS:
        clean = clean.replace(marker, "")
    return Solution(clean[:MAX_SOLUTION_CHARS], final_answer(clean) if sound else None, seed)


def skewed_error_rates(error_rate: float, skew: float, families: Sequence[str]) -> dict[str, float]:
    """Error rates that fall linearly from (1 + skew)·rate for the first family to (1 - skew)·rate for the last.

    Their mean is error_rate. InputError when a rate would leave [0, 1].
    """
    if not 0 <= skew <= 1 or not 0 <= error_rate * (1 + skew) <= 1:
        raise InputError(f"error_rate {error_rate} with skew {skew} leaves [0, 1] for some family")
    steps = max(len(families) - 1, 1)
    return {name: error_rate * (1 + skew - 2 * skew * rank / steps) for rank, name in enumerate(families)}


@dataclass(frozen=True)
class ProceduralTeacher:
    """Writes the exact answer and nothing else, except that a solution errs with its family's error rate.

    A tenth of the errors have no answer at all; of the others `typical_share` are the problem's typical mistake, the
    same one each time, so that some majorities are wrong, as those of real teachers are. The rest are random slips.
    """

    error_rates: Mapping[str, float]  # per family, in [0, 1]
    typical_share: float = 0.5
    name: str = field(default="procedural", init=False)
    version: str = field(default="1", init=False)  # raised when the same problem and seed get another solution
    checkpoint: None = field(default=None, init=False)

    def solve(self, problems: Sequence[Problem], n_solutions: int, seed: int) -> list[list[Solution]]:
        """See Teacher. InputError for a family without an error rate."""
        return [
            [self._one(problem, solution_seed(seed, problem.problem_id, index)) for index in range(n_solutions)]
            for problem in problems
        ]

    def _one(self, problem: Problem, seed: int) -> Solution:
        if problem.family not in self.error_rates:
            raise InputError(f"the procedural teacher has no error rate for family {problem.family!r}")
        random = Random(seed)
        if random.random() >= self.error_rates[problem.family]:
            return received(problem.answer, seed)
        if random.random() < 0.1:
            return Solution(NO_IDEA, None, seed)
        slips = random if random.random() >= self.typical_share else Random(problem.problem_id)
        return received(wrong_answer(problem.answer, slips), seed)


def wrong_answer(answer: str, random: Random) -> str:
    """A plausible answer that is not right: a number off by a little, two items or letters exchanged, one repeated."""
    if answer.removeprefix("-").isdigit():
        return str(int(answer) + random.choice((-10, -2, -1, 1, 2, 10)))
    items = answer.split() if " " in answer else list(answer)
    glue = " " if " " in answer else ""
    places = [place for place in range(len(items) - 1) if items[place].casefold() != items[place + 1].casefold()]
    if places and random.random() < 0.8:
        place = random.choice(places)
        items[place], items[place + 1] = items[place + 1], items[place]
        return glue.join(items)
    return glue.join([*items, items[-1]])


class CheckpointTeacher:
    """A model of ours, sampled locally; its name and version carry the digest of the checkpoint."""

    def __init__(
        self, model_dir: Path, *, temperature: float = 0.75, max_new_tokens: int = 48, batch_size: int = 64
    ) -> None:
        from models.artifacts import digest
        from models.data.tokenizer import load_tokenizer
        from models.training.checkpoint import load_model

        self.model, _ = load_model(model_dir)
        self.tokenizer = load_tokenizer(model_dir)
        self.version = self.checkpoint = digest(model_dir)
        self.name = f"checkpoint:{self.version}"
        self.temperature, self.max_new_tokens, self.batch_size = temperature, max_new_tokens, batch_size

    def solve(self, problems: Sequence[Problem], n_solutions: int, seed: int) -> list[list[Solution]]:
        """See Teacher; a completion that did not end by itself has no answer."""
        from models.data.chat import prompt_ids
        from models.data.tokenizer import IM_END_ID
        from models.inference.sampler import generate

        asked = [(problem, index) for problem in problems for index in range(n_solutions)]
        prompts = {
            p.problem_id: prompt_ids([{"role": "user", "content": p.question}], self.tokenizer) for p in problems
        }
        solutions: list[Solution] = []
        for first in range(0, len(asked), self.batch_size):
            rows = asked[first : first + self.batch_size]
            seeds = [solution_seed(seed, problem.problem_id, index) for problem, index in rows]
            completions = generate(
                self.model,
                [prompts[problem.problem_id] for problem, _ in rows],
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                seeds=seeds,
                stop_ids=[IM_END_ID],
            )
            for completion, row_seed in zip(completions, seeds, strict=True):
                ids = completion.ids[:-1] if completion.finished else completion.ids
                text = self.tokenizer.decode(ids, skip_special_tokens=True)
                solutions.append(received(text, row_seed, complete=completion.finished))
        return [solutions[start : start + n_solutions] for start in range(0, len(solutions), n_solutions)]
