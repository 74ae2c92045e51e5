"""A proxy on loopback that spoils chosen answers of the HTTP server behind it: for tests of whatever reads over HTTP.

Faults are chosen by rules (which path, how many times, after how many requests) or by a seeded coin; what was done is
listed in `proxy.done`. Requests of the client are passed on byte for byte.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
import threading
from dataclasses import dataclass, field

KINDS = ("503", "reset", "reset_midway", "truncate", "flip", "stall", "wrong_range", "drop_reply")
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*(\d+)")
EXPECTS = re.compile(rb"(?i)\r\nexpect:[ \t]*100-continue")
CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding:[ \t]*chunked")
CONTENT_RANGE = re.compile(rb"(?i)(\r\ncontent-range: bytes )(\d+)-(\d+)(/\d+)")
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"


@dataclass
class Fault:
    """What happens to answers whose request's path matches.

    kind: 503 (SlowDown, without asking the server), reset (connection cut before the answer), reset_midway (cut in the
    body), truncate (a body that ends early, cleanly, with its shorter length), flip (one bit of the body), stall (the
    body stops half way, the connection stays), wrong_range (another Content-Range, other bytes), drop_reply (the server
    did it, the answer is lost). times: at most so many, None for ever; after: requests passed over first; chance:
    of each matching request.
    """

    kind: str
    path: str = ".*"
    times: int | None = None
    after: int = 0
    chance: float = 1.0
    seen: int = field(default=0, init=False)
    struck: int = field(default=0, init=False)

    def strikes(self, path: str, coin: random.Random) -> bool:
        """Whether it happens to this request."""
        if not re.search(self.path, path) or (self.times is not None and self.struck >= self.times):
            return False
        self.seen += 1
        if self.seen <= self.after or coin.random() >= self.chance:
            return False
        self.struck += 1
        return True


class FaultProxy:
    """`with FaultProxy(port, [Fault("503", times=3)]) as proxy`: reach the server at `proxy.url`.

    done: (kind, path) of each fault. stall_s: how long a stalled connection is kept.
    """

    def __init__(self, port: int, faults: list[Fault], *, seed: int = 0, stall_s: float = 30.0) -> None:
        assert all(fault.kind in KINDS for fault in faults)
        self.server_port, self.faults, self.stall_s = port, faults, stall_s
        self.coin = random.Random(seed)
        self.done: list[tuple[str, str]] = []
        self.loop = asyncio.new_event_loop()

    def __enter__(self) -> FaultProxy:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self._serve, args=(listener,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def _serve(self, listener: socket.socket) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._client, sock=listener, limit=1 << 20))
        self.loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False when the connection is over."""
        head = await reader.readuntil(HEAD_END)
        if EXPECTS.search(head):  # a client with a large body asks first whether it may send it
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = EXPECTS.sub(b"", head)
        body = await _body(head, reader)
        method, path = head.split(b" ", 2)[:2]
        path = path.decode("latin-1")
        fault = next((one.kind for one in self.faults if one.strikes(path, self.coin)), None)
        if fault:
            self.done.append((fault, path))
        if fault == "503":
            writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(SLOW_DOWN), b"" if method == b"HEAD" else SLOW_DOWN))
            await writer.drain()
            return True
        if fault == "reset":
            return _cut(writer)
        behind, ahead = await asyncio.open_connection("127.0.0.1", self.server_port)
        try:
            ahead.write(
                re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head).replace(HEAD_END, b"\r\nConnection: close\r\n\r\n", 1)
            )
            ahead.write(body)
            await ahead.drain()
            answer = await behind.readuntil(HEAD_END)
            content = b"" if method == b"HEAD" else await _body(answer, behind, is_answer=True)
        finally:
            ahead.close()
        answer = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", answer)
        return await self._reply(writer, answer, content, fault)

    async def _reply(self, writer: asyncio.StreamWriter, head: bytes, content: bytes, fault: str | None) -> bool:
        half = len(content) // 2
        if fault == "drop_reply":
            return _cut(writer)
        if fault == "flip" and content:
            at = self.coin.randrange(len(content))
            content = content[:at] + bytes([content[at] ^ 1 << self.coin.randrange(8)]) + content[at + 1 :]
        elif fault == "truncate" and content:
            content = content[:half]
            head = LENGTH.sub(b"\r\nContent-Length: %d" % half, head)
        elif fault == "wrong_range":
            head = CONTENT_RANGE.sub(lambda m: b"%s%d-%d%s" % (m[1], int(m[2]) + 1, int(m[3]) + 1, m[4]), head)
        writer.write(head)
        if fault in ("reset_midway", "stall"):
            writer.write(content[:half])
            await writer.drain()
            if fault == "stall":
                await asyncio.sleep(self.stall_s)
            return _cut(writer)
        writer.write(content)
        await writer.drain()
        return True


def _cut(writer: asyncio.StreamWriter) -> bool:
    """Ends a connection with RST, as a crashed peer or a firewall does."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def _body(head: bytes, reader: asyncio.StreamReader, *, is_answer: bool = False) -> bytes:
    """The body that follows a head, as it is on the wire."""
    if CHUNKED.search(head):
        content = b""
        while True:
            size = await reader.readline()
            content += size + await reader.readexactly(int(size.split(b";")[0], 16) + 2)
            if int(size.split(b";")[0], 16) == 0:
                return content
    if length := LENGTH.search(head):
        return await reader.readexactly(int(length[1]))
    if is_answer and b" 204 " not in head[:16] and b" 304 " not in head[:16]:
        return await reader.read()
    return b""
