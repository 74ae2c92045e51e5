"""Is this completion right? Exact match of final answers after one documented normalisation; needs no library.

The final answer of a completion is what follows its last "answer:" / "answer is" / "answer =" on the same line (a
marker with nothing behind it does not count); a completion without that form is its last non-empty line.
Normalisation of an answer, in this order: unicode minus → "-"; case folded; one pair of wrapping quotes, backticks,
`$…$`, `[…]` or `\\boxed{…}` removed; a closing full stop removed; items split at white space, ";" and at commas
that are not thousands separators; a numeric item written in its shortest decimal form ("1,000" = "1000" = "1000.0"
= "+1000", "-0" = "0"). Empty, missing or overlong answers are None: never right. Completions are untrusted text:
they are only ever compared, within length limits.
"""

import re
from decimal import Decimal

MAX_COMPLETION_CHARS = 20_000  # the tail beyond this is what counts
MAX_ANSWER_CHARS = 300
MAX_NUMBER_CHARS = 60

_MARKER = re.compile(r"answer(?:\s{0,3}[:=]|\s{1,3}is\b\s{0,3}:?)", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?")
_MINUS = str.maketrans({"−": "-", "–": "-", "‐": "-", "‑": "-"})
_WRAPPERS = (("\\boxed{", "}"), ("$", "$"), ("`", "`"), ('"', '"'), ("'", "'"), ("[", "]"), ("**", "**"))


def final_answer(completion: str | None) -> str | None:
    """The raw text of the last answer that the completion gives; None when there is none."""
    if not completion:
        return None
    tail = completion[-MAX_COMPLETION_CHARS:]
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    for line in reversed(lines):
        ends = [match.end() for match in _MARKER.finditer(line) if line[match.end() :].strip(" .")]
        if ends:
            return _bounded(line[ends[-1] :].strip())
    return _bounded(lines[-1]) if lines else None


def normalise(answer: str | None) -> str | None:
    """The canonical form of an answer (see the module), or None if nothing is left of it."""
    if answer is None or len(answer) > MAX_ANSWER_CHARS:
        return None
    text = answer.translate(_MINUS).casefold().strip()
    changed = True
    while changed and text:
        before, text = text, _unwrapped(text.removesuffix(".").strip())
        changed = text != before
    items = (item for part in re.split(r"[\s;]+", text) for item in _split_commas(part))
    return " ".join(_canonical(item) for item in items) or None


def verify(problem_answer: str, completion: str | None) -> float:
    """1.0 if the completion's final answer equals the problem's answer after normalisation, else 0.0."""
    given = normalise(final_answer(completion))
    return float(given is not None and given == normalise(problem_answer))


def _bounded(answer: str) -> str | None:
    return answer if 0 < len(answer) <= MAX_ANSWER_CHARS else None


def _unwrapped(text: str) -> str:
    for left, right in _WRAPPERS:
        inner = text[len(left) : len(text) - len(right)]
        if len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right) and right not in inner:
            return inner.strip()
    return text


def _split_commas(part: str) -> list[str]:
    trimmed = part.strip(",")
    if _THOUSANDS.fullmatch(trimmed):
        return [trimmed.replace(",", "")]
    return [item.strip("'\"") for item in trimmed.split(",") if item.strip("'\"")]


def _canonical(item: str) -> str:
    if len(item) > MAX_NUMBER_CHARS or not _NUMBER.fullmatch(item):
        return item
    value = Decimal(item)
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    text = text.lstrip("+")
    return "0" if not value else text
