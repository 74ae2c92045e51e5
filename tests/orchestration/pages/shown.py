"""What is in an answer: its elements, its links, its words, as a parser sees them, and what must never be there."""

import re
import unicodedata
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from assets.safe_text import UNSAFE
from orchestration.pages.rendering import TEMPLATES

VOID = {"meta", "link", "img", "input", "br", "hr", "rect", "line", "path", "circle"}
ADDRESSES = ("href", "src", "action", "hx-get", "hx-post")


@dataclass
class Element:
    """An element: its tag, attributes, what it is in (tags with their classes, the outermost first), and its words."""

    tag: str
    attributes: dict[str, str]
    inside: tuple[str, ...]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return name in self.attributes.get("class", "").split()


class Page(HTMLParser):
    """The elements of an answer, in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.said: list[str] = []  # what is shown, and attributes, but for what a person can edit
        self._open: list[Element] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        path = tuple(f"{one.tag}.{one.attributes.get('class', '')}" for one in self._open)
        made = Element(tag, {name: value or "" for name, value in attrs}, path)
        self.elements.append(made)
        self.said += [value for name, value in made.attributes.items() if (tag, name) != ("input", "value")]
        if self._open:
            self._open[-1].children.append(made)
        if tag not in VOID:
            self._open.append(made)

    def handle_endtag(self, tag):
        if any(one.tag == tag for one in self._open):
            while self._open.pop().tag != tag:
                pass

    def handle_data(self, data):
        for one in self._open:
            one.text += data
        if not (self._open and self._open[-1].tag == "textarea"):
            self.said.append(data)

    def all(self, tag: str) -> list[Element]:
        return [one for one in self.elements if one.tag == tag]

    def texts(self) -> list[Element]:
        """The boxes in which crawled text is shown."""
        return [one for one in self.elements if one.tag == "div" and one.has("text")]

    def table(self, caption: str) -> list[list[str]]:
        """The rows of the table whose caption begins so, as words."""
        for one in self.all("table"):
            if one.children and " ".join(one.children[0].text.split()).startswith(caption):
                rows = [
                    row for part in one.children for row in part.children if part.tag == "tbody" and row.tag == "tr"
                ]
                return [[" ".join(cell.text.split()) for cell in row.children] for row in rows]
        raise AssertionError(f"no table is called {caption}")


def known_elements(*folders: str) -> tuple[set[str], set[str]]:
    """(tags, attributes) that our templates write."""
    files = [*TEMPLATES.glob("*.html"), *(path for folder in folders for path in (TEMPLATES / folder).glob("*.html"))]
    source = "".join(re.sub(r"{#.*?#}|{{.*?}}|{%.*?%}", " ", path.read_text(), flags=re.S) for path in map(Path, files))
    tags = set(re.findall(r"<([a-z][a-z0-9]*)", source))
    attributes = set(re.findall(r"\s([a-z][a-z-]*)(?==|[\s>])", source))
    return tags, attributes


def foreign(html: str, *folders: str) -> list[str]:
    """What is in an answer that no template of ours writes, in words."""
    page, wrong = Page(html), []
    tags, attributes = known_elements(*folders)
    for one in page.elements:
        if one.tag not in tags:
            wrong.append(f"an element {one.tag}")
        wrong += [f"an attribute {name} of {one.tag}" for name in one.attributes if name not in attributes]
        wrong += [f"a handler {name}" for name in one.attributes if name.startswith("on")]
        for name in ADDRESSES:
            address = one.attributes.get(name, "/")
            if not address.startswith(("/", "#", "http://127.0.0.1:")) or address.startswith("//"):
                wrong.append(f"an address {address[:80]}")
        if one.tag == "script" and not one.attributes.get("src", "").startswith("/static/"):
            wrong.append("a script of its own")
    for box in page.texts():
        wrong += [f"{one.tag} in a text" for one in box.children if one.tag not in ("mark", "span")]
        wrong += [f"{one.tag} in a mark" for child in box.children for one in child.children if one.tag != "small"]
    shown = set("".join(page.said)) - set("\n\t")
    wrong += [f"the character U+{ord(c):04X}" for c in shown if unicodedata.category(c) in UNSAFE]
    return wrong
