"""What stands in for personal data: values of the same form that can belong to nobody, and how to know one.

E-mail addresses use the reserved domains (RFC 2606), network addresses the documentation ranges (RFC 5737, RFC 3849),
phone numbers 555-0100 to 555-0199 (kept for fiction by the North American Numbering Plan), social security numbers area
000, IBANs check digits 00, payment cards a wrong check digit; keys say EXAMPLE. A placeholder is a function of type,
value and document id alone.
"""

import hashlib
import re
from ipaddress import IPv6Address

TYPES = ("private_key", "api_key", "email", "iban", "credit_card", "us_ssn", "ipv6", "ipv4", "phone")

_RESERVED_DOMAIN = re.compile(r"(?:.*\.)?(?:example(?:\.(?:com|org|net|edu))?|test|invalid|localhost)", re.IGNORECASE)
_NAMES = ("alex", "casey", "drew", "finley", "jamie", "jordan", "kim", "lee", "morgan", "robin", "sam", "taylor")
_DOMAINS = ("example.com", "example.org", "example.net")
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
_AREA_CODES = ("202", "212", "303", "312", "404", "415", "503", "512", "617", "702", "808", "907")
_KEY_START = re.compile(r"AKIA|ASIA|AIza|gh[opsur]_|github_pat_|glpat-|xox[abeprs]-|[rs]k_live_|sk-|hf_|npm_|SG\.|eyJ")
_KEY_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class _Draws:
    """Endless small numbers drawn from a hash of what they stand for."""

    def __init__(self, *parts: str) -> None:
        seed = "\0".join(parts).encode("utf-8", "surrogatepass")
        self._stream = hashlib.shake_256(seed)
        self._at = 0

    def below(self, n: int) -> int:
        """The next number in [0, n), n up to 2**16, uniform to one part in 2**16."""
        self._at += 4
        return int.from_bytes(self._stream.digest(self._at)[-4:], "big") % n

    def one_of(self, values):
        return values[self.below(len(values))]


def placeholder(kind: str, value: str, doc_id: str) -> str:
    """A value of the same form as `value` that belongs to nobody. Raises ValueError for a kind outside TYPES."""
    draws = _Draws(kind, value, doc_id)
    if kind == "email":
        return f"{draws.one_of(_NAMES)}{draws.below(9000) + 1000}@{draws.one_of(_DOMAINS)}"
    if kind == "ipv4":
        return f"{draws.one_of(_NETWORKS)}.{draws.below(254) + 1}"
    if kind == "ipv6":
        return str(IPv6Address((0x20010DB8 << 96) | draws.below(1 << 16) << 64 | draws.below(1 << 16) + 1))
    if kind == "phone":
        return _phone(value, draws)
    if kind == "us_ssn":
        return "000" + "".join(str(draws.below(10)) if char.isdigit() else char for char in value[3:])
    if kind == "iban":
        return value[:2] + "00" + "".join(_like(char, draws) for char in value[4:])
    if kind == "credit_card":
        return _card(value, draws)
    if kind == "api_key":
        return _key(value, draws)
    if kind == "private_key":
        lines = value.strip().split("-----")
        return f"-----{lines[1]}-----\nEXAMPLE\n-----{lines[-2]}-----"
    raise ValueError(f"no placeholder for {kind!r}: expected one of {', '.join(TYPES)}")


def _like(char: str, draws: _Draws) -> str:
    if char.isdigit():
        return str(draws.below(10))
    if char.isalpha():
        drawn = draws.one_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        return drawn if char.isupper() else drawn.lower()
    return char


def _phone(value: str, draws: _Draws) -> str:
    area, last = draws.one_of(_AREA_CODES), f"01{draws.below(100):02d}"
    if value.startswith("+"):
        return f"+1 {area}-555-{last}"
    if value.startswith("("):
        return f"({area}) 555-{last}"
    gap = "." if "." in value else "-"
    return gap.join((area, "555", last))


def _card(value: str, draws: _Draws) -> str:
    digits = [char if at == 0 else str(draws.below(10)) for at, char in enumerate(re.sub(r"\D", "", value))]
    weighted = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    if sum(weight - 9 * (weight > 9) for weight in weighted) % 10 == 0:
        digits[-1] = str((int(digits[-1]) + 1) % 10)
    drawn = iter(digits)
    return "".join(next(drawn) if char.isdigit() else char for char in value)


def _key(value: str, draws: _Draws) -> str:
    start = _KEY_START.match(value)
    kept = start.group() if start else ""
    rest = value[len(kept) + len("EXAMPLE") :]
    return f"{kept}EXAMPLE" + "".join(char if char in "-_." else draws.one_of(_KEY_ALPHABET) for char in rest)


def is_placeholder(kind: str, value: str) -> bool:
    """Whether a finding of this kind is a value kept for examples.

    Network addresses, cards, IBANs, social security numbers and private keys are told by their form already.
    """
    if kind == "email":
        return _RESERVED_DOMAIN.fullmatch(value.rpartition("@")[2]) is not None
    if kind == "phone":
        digits = re.sub(r"\D", "", re.split(r"[ex]", value, maxsplit=1)[0])
        return re.fullmatch(r"(?:00)?1?(?:\d{3})?55501\d\d", digits) is not None
    return kind == "api_key" and "EXAMPLE" in value
