"""A ledger of hosts that keep text miners out, from the robots.txt and tdmrep.json records of WARC files.

A host is listed when its newest robots.txt (RFC 9309) keeps one of the agents from the whole site, or its newest
/.well-known/tdmrep.json (TDM Reservation Protocol) reserves all of it. A host that is closed in part is counted: a
ledger of hosts cannot say it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

from assets.crawl_index.optouts import HOST
from assets.steps.http_payload import BadPayload, decode_body, parse_response
from assets.steps.members import members
from assets.steps.records import Broken, Raw, records

# agents by which sites say that they are not to be read for training: user agents as their makers publish them
AGENTS = ("CCBot", "GPTBot", "Google-Extended", "ClaudeBot", "anthropic-ai", "Applebot-Extended", "Bytespider")
ROBOTS, TDMREP = "/robots.txt", "/.well-known/tdmrep.json"
MOST_BYTES = 512 << 10  # RFC 9309 asks for 500 KiB at least; what lies behind is not read
PROBES = ("/", "/a/page.html")  # a site is closed when both are


@dataclass
class Found:
    """hosts: those that opted out and why, sorted; read: files of the two kinds; in_part: hosts closed in part; broken:
    records that could not be read."""

    hosts: dict[str, str] = field(default_factory=dict)
    read: int = 0
    in_part: int = 0
    broken: int = 0

    def lines(self) -> str:
        """The ledger's text: `=host`, for subdomains have files of their own."""
        return "".join(f"={host} {reason}\n" for host, reason in sorted(self.hosts.items()))


def opted_out(paths: Iterable[Path], agents: Sequence[str] = AGENTS) -> Found:
    """What the records of WARC files say; the newest of a host and kind counts, by WARC-Date. Raises OSError."""
    found, newest = Found(), {}
    for path in paths:
        with open(path, "rb") as file:
            for member in members(file, path.stat().st_size):
                if member.damage or not member.view:
                    found.broken += 1
                    continue
                for raw in records(member.view):
                    said = None if isinstance(raw, Broken) else _of_record(raw, member.view, agents)
                    found.broken += isinstance(raw, Broken)
                    if said:
                        found.read += 1
                        key, dated = said[:2], said[2:]
                        newest[key] = max(newest.get(key, dated), dated)
    for (host, _), (_, state, reason) in sorted(newest.items()):
        if state == "closed":
            found.hosts.setdefault(host, reason)
    found.in_part = len({host for (host, _), said in newest.items() if said[1] == "in_part"} - set(found.hosts))
    return found


def _of_record(raw: Raw, view, agents: Sequence[str]) -> tuple[str, str, str, str, str] | None:
    """(host, path, date, open, in_part or closed, reason) of one of the two files; None for any other record."""
    if raw.type != "response":
        return None
    try:
        parts = urlsplit(raw.headers.get("warc-target-uri", "").strip().strip("<>"))
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return None
    if parts.path not in (ROBOTS, TDMREP) or not HOST.fullmatch(host):
        return None
    try:
        block = view.read(raw.block_start, raw.block_length)
        response = parse_response(block)
        if response.status != 200:
            return host, parts.path, raw.headers.get("warc-date", ""), "open", ""
        _, body = decode_body(response.headers, block[response.body_start :], may_end_early=True)
    except BadPayload:
        return None
    judge = _robots if parts.path == ROBOTS else _tdmrep
    state, reason = judge(body[:MOST_BYTES].decode("utf-8", "replace"), agents)
    return host, parts.path, raw.headers.get("warc-date", ""), state, reason


def _robots(text: str, agents: Sequence[str]) -> tuple[str, str]:
    """An agent without a group of its own is meant by `*`."""
    parser = RobotFileParser()
    parser.parse(text.lstrip("\ufeff").splitlines())
    closed = [agent for agent in agents if not any(parser.can_fetch(agent, probe) for probe in PROBES)]
    if closed:
        return "closed", f"robots.txt keeps out {', '.join(closed)}"
    return ("in_part", "") if "disallow" in text.lower() else ("open", "")


def _tdmrep(text: str, _: Sequence[str]) -> tuple[str, str]:
    try:
        entries = [one for one in json.loads(text) if isinstance(one, dict)]
    except (ValueError, TypeError, RecursionError):
        return "open", ""
    reserved = [str(one.get("location", "")) for one in entries if one.get("tdm-reservation") in (1, "1", True)]
    if any(place in ("/", "/*", "*") for place in reserved):
        return "closed", "tdmrep.json reserves text and data mining"
    return ("in_part", "") if reserved else ("open", "")
