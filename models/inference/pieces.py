"""Token ids as the bytes they stand for, and bytes as text that is never cut inside a character.

Byte-level BPE cuts where it likes: one token may hold half of an é, or the end of one character and the beginning of
the next. What is shown while a model speaks is therefore decoded from the bytes, and waits for the missing ones.
"""

import codecs
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from models.config import InputError
from models.data.encoder import byte_characters
from models.data.tokenizer import SPECIAL_TOKENS


def token_spellings(tokenizer: Tokenizer, directory: Path | str) -> list[bytes]:
    """The bytes of every id; special tokens stand for none. InputError where tokens are not spelled in bytes."""
    value_of = {char: value for value, char in enumerate(byte_characters())}
    spellings = [b""] * tokenizer.get_vocab_size()
    for token, index in tokenizer.get_vocab().items():
        if token in SPECIAL_TOKENS:
            continue
        try:
            spellings[index] = bytes(value_of[char] for char in token)
        except (KeyError, IndexError) as error:
            raise InputError(
                f"{directory}: token {index} is not spelled in bytes, so its text cannot be shown"
            ) from error
    return spellings


class TextStream:
    """Bytes of tokens, one after the other, as text: each call answers what can be shown now, `end` the rest.

    All answers together are the tokenizer's decoding of the ids: bytes that are no UTF-8 become U+FFFD. With `stops`,
    text ends before the first stop string, and what could be the beginning of one waits until that is known.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops = [stop for stop in stops if stop]
        self.stopped_by: str | None = None  # the stop string that came
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._waiting = ""  # decoded, and perhaps the beginning of a stop string

    @property
    def stopped(self) -> bool:
        """Whether a stop string came."""
        return self.stopped_by is not None

    def add(self, spelling: bytes) -> str:
        """The text that this token completes; "" while a character or a stop string may be unfinished."""
        return self._release(self._decoder.decode(spelling), final=False)

    def end(self) -> str:
        """What waited; call it once, after the last token."""
        return self._release(self._decoder.decode(b"", final=True), final=True)

    def _release(self, text: str, final: bool) -> str:
        if self.stopped:
            return ""
        self._waiting += text
        found = [(place, stop) for stop in self.stops if (place := self._waiting.find(stop)) >= 0]
        if found:
            place, self.stopped_by = min(found)
            shown, self._waiting = self._waiting[:place], ""
            return shown
        held = 0 if final else max((_overlap(self._waiting, stop) for stop in self.stops), default=0)
        shown, self._waiting = self._waiting[: len(self._waiting) - held], self._waiting[len(self._waiting) - held :]
        return shown


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with, shorter than `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
