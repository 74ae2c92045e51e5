"""What a card is made of: sections of prose, lists, tables and commands; and the card as markdown.

A page shows the same sections as HTML, so what a card says stands in one place. What strangers wrote (hosts, URLs)
comes as `Code`, after it was made one line of visible characters; in either form nothing in code is markup.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A digest, a path, a name from outside: shown as it is."""

    text: str


@dataclass(frozen=True)
class Share:
    """A part of a whole, 0 to 1, written as percent."""

    value: float


Cell = str | int | float | Code | Share


@dataclass(frozen=True)
class Prose:
    """One paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a header. A column whose cells are all numbers is one of numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""

    def is_number(self, column: int) -> bool:
        """Whether the column holds numbers alone."""
        return bool(self.rows) and all(isinstance(row[column], int | float | Share) for row in self.rows)


@dataclass(frozen=True)
class Commands:
    """Lines to run, in a language that a reader may colour."""

    text: str
    language: str = ""


Block = Prose | Bullets | Table | Commands


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Card:
    """A card for people: its title, lines that sum it up, and its sections."""

    title: str
    summary: tuple[str, ...]
    sections: tuple[Section, ...]


def section(title: str, *blocks: Block | None) -> Section | None:
    """A section of the blocks that say something; None when none does."""
    said = tuple(block for block in blocks if block is not None and not _is_empty(block))
    return Section(title, said) if said else None


def written(value: Cell) -> str:
    """A cell as people read it: thousands apart, four digits of a fraction."""
    if isinstance(value, Code):
        return value.text
    if isinstance(value, Share):
        return f"{100 * value.value:.1f}%"
    if isinstance(value, str | bool):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def markdown(card: Card) -> str:
    """The card as markdown."""
    lines = [f"# {card.title}", "", *card.summary]
    for one in card.sections:
        lines += ["", f"## {one.title}"]
        for place, block in enumerate(one.blocks):
            lines += ["", *_block(block)] if place else _block(block)
    return "\n".join(lines) + "\n"


def _is_empty(block: Block) -> bool:
    if isinstance(block, Table):
        return not block.rows
    return not (block.items if isinstance(block, Bullets) else block.text)


def _block(block: Block) -> list[str]:
    match block:
        case Prose(text):
            return [text]
        case Bullets(items):
            return [f"- {item}" for item in items]
        case Commands(text, language):
            return [f"```{language}", *text.splitlines(), "```"]
        case Table(columns, rows, caption):
            marks = [" ---: |" if block.is_number(i) else " --- |" for i in range(len(columns))]
            body = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
            said = [f"{caption}:", ""] if caption else []
            return [*said, "| " + " | ".join(columns) + " |", "|" + "".join(marks), *body]


def _cell(value: Cell) -> str:
    if isinstance(value, Code):
        return "`" + value.text.replace("`", "\\x60").replace("|", "\\|") + "`"
    return written(value).replace("|", "\\|")


def present(sections: Sequence[Section | None]) -> tuple[Section, ...]:
    """The sections that say something."""
    return tuple(one for one in sections if one is not None)
