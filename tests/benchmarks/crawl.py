"""Bytes moved by index-first ingestion, index included, against reading whole WARC files: languages, hosts, everything;
and what planning costs on an index of a million rows.

A stand-in of Common Crawl is made of the pages at hand, each under generated hosts with a comment that makes its
payload its own: shuffled over WARC files as the crawler does it, each response between its request and its metadata
record, under an index of the real schema. It is served over HTTP, planned and fetched for real; every body that the
server sends is counted. The floor is the chosen records alone.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from assets.crawl_index.fetch import fetch
from assets.crawl_index.files import PATHS, TABLE
from assets.crawl_index.plan import write_plan
from assets.crawl_index.planning import make_plan
from assets.crawl_index.prices import Price, price
from assets.crawl_index.selection import Selection
from assets.crawl_index.verify import sha1_base32
from tests.assets.crawl_index.stand_in import SCHEMA, SEGMENT, SNAPSHOT, index_rows, write_index
from tests.benchmarks.timing import CRAWL, cpu_s, row, shared_data
from tests.faults.range_server import RangeServer

WARC_BYTES = 4_000_000  # of a WARC file; a real one has a gigabyte, which changes no share
NEIGHBOURS_BYTES = (450, 420)  # of a compressed request and metadata record, as in the cut of CC-MAIN-2020-34
HOSTS, WANTED_HOSTS, PAGES_PER_HOST = 10_000, 1_000, 2
MOST_PAGE_BYTES = 12_000  # larger pages would make the stand-in large and no share another
INDEX_ROWS, INDEX_FILES, ROW_GROUP = 1_000_000, 4, 1 << 16
MB = 1e6
# the peak is read in the process itself: what wait4 tells of a child counts the memory of the parent that forked it
WATCHED = """
import sys
from orchestration.cli import main
try:
    main()
finally:
    sys.stderr.write(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def rows() -> list[dict]:
    """The table's rows: MB moved, then CPU seconds and MB of memory of planning."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sources = sorted((shared_data() / "pages").glob("*.warc.gz")) or sorted(CRAWL.rglob("*.warc.gz"))
        pages = real_pages(sources)
        hosts = laid_out(pages, root / "bucket")
        whole = sum(path.stat().st_size for path in (root / "bucket").rglob("*.warc.gz")) / MB
        some = tuple(random.Random(0).sample(hosts, WANTED_HOSTS))
        selections = {
            "German pages": Selection(SNAPSHOT, languages=("deu",)),
            "English pages": Selection(SNAPSHOT, languages=("eng",)),
            "English pages, bytes paid": Selection(SNAPSHOT, languages=("eng",)),
            f"{len(some):,} of {len(hosts):,} hosts": Selection(SNAPSHOT, hosts=some),
            "every page": Selection(SNAPSHOT),
        }
        found = []
        with RangeServer(root / "bucket") as server:
            for name, selection in selections.items():
                paid = price("s3-internet") if name.endswith("bytes paid") else None
                moved, records, requests, floor = measured(server, selection, root / name.replace(" ", "-"), paid)
                title = f"{name} ({records:,} records, {requests:,} requests)"
                found.append(row("crawl", title, "MB", moved / MB, whole, "whole files", floor / MB, "the records"))
        return found + planning(pages, root)


def planning(pages: list[tuple[dict, bytes]], root: Path) -> list[dict]:
    """Rows for `stemma crawl plan --language eng --limit 10000` beside the same without a limit."""
    million([entry for entry, _ in pages], root / "million")
    asked = ("--index", str(root / "million"), "--language", "eng", "--price", "s3-internet", "--json")
    few, few_s, few_mb = by_command(*asked, "--limit", "10000")
    many, many_s, many_mb = by_command(*asked)
    title = f"planning {few['records']:,} of an index of {INDEX_ROWS:,} rows"
    peer = f"planning all {many['records']:,}"
    return [
        row("crawl", f"{title}: CPU", "s", few_s, many_s, peer),
        row("crawl", f"{title}: peak memory", "MB", few_mb, many_mb, peer),
    ]


def by_command(*arguments: str) -> tuple[dict, float, float]:
    """(what `stemma crawl plan` says, CPU seconds, peak resident MB) of one process, its start included."""
    command = [sys.executable, "-c", WATCHED, "crawl", "plan", SNAPSHOT, *arguments]
    environment = os.environ | {"POLARS_MAX_THREADS": "1"}
    before = cpu_s()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout), cpu_s() - before, int(done.stderr.split()[-2]) * 1024 / MB


def measured(server: RangeServer, selection: Selection, folder: Path, money: Price | None) -> tuple[int, int, int, int]:
    """(bytes sent for index and records, records, requests, bytes of the records) of one selection."""
    server.served.clear()
    plan = make_plan(server.url, selection, money=money)
    write_plan(plan, folder / "plan.parquet")
    outcome = fetch(folder / "plan.parquet", folder / "crawl")
    assert outcome.records + sum(outcome.rejects.values()) == plan.records.height
    totals = plan.totals()
    moved = sum(end - start for _, start, end in server.served)
    return moved, plan.records.height, totals["requests"], totals["record_bytes"]


def real_pages(sources: list[Path]) -> list[tuple[dict, bytes]]:
    """(index row, gzip member) of every successful capture that is not too large."""
    found = []
    for path in sources:
        content = path.read_bytes()
        for entry in index_rows(path, ""):
            if entry["fetch_status"] == 200 and entry["warc_record_length"] <= MOST_PAGE_BYTES:
                start = entry["warc_record_offset"]
                found.append((entry, content[start : start + entry["warc_record_length"]]))
    return found


def renamed(entry: dict, host: str) -> dict:
    """The index row of the same page on another host."""
    labels, path = host.split("."), entry["url_path"]
    ends = dict(zip(("tld", "2nd_last_part", "3rd_last_part"), reversed(labels)))
    return entry | {f"url_host_{name}": label for name, label in ends.items()} | {
        "url": f"https://{host}{path}",
        "url_surtkey": f"{','.join(reversed(labels))}){path}",
        "url_host_name": host,
        "url_host_name_reversed": ".".join(reversed(labels)),
        "url_host_registered_domain": ".".join(labels[-2:]),
        "url_protocol": "https",
    }  # fmt: skip


def own_copy(entry: dict, member: bytes, host: str) -> tuple[dict, bytes]:
    """(index row, gzip member) of a page on another host, its payload made its own by a comment."""
    moved = renamed(entry, host)
    head, _, rest = gzip.decompress(member).partition(b"\r\n\r\n")
    http, _, body = rest.removesuffix(b"\r\n\r\n").partition(b"\r\n\r\n")
    body += f"<!-- {host} -->".encode()
    kept = [line for line in http.split(b"\r\n") if not line.lower().startswith((b"content-", b"transfer-"))]
    block = b"\r\n".join([*kept, b"Content-Type: text/html"]) + b"\r\n\r\n" + body
    lines = [line for line in head.split(b"\r\n") if b"-digest:" not in line.lower()]
    lines = [line for line in lines if not line.lower().startswith((b"content-length:", b"warc-target-uri:"))]
    lines += [b"WARC-Target-URI: " + moved["url"].encode(), b"Content-Length: %d" % len(block)]
    record = b"\r\n".join(lines) + b"\r\n\r\n" + block + b"\r\n\r\n"
    return moved | {"content_digest": sha1_base32(body)}, gzip.compress(record, 1, mtime=0)


def laid_out(pages: list[tuple[dict, bytes]], root: Path) -> list[str]:
    """Lays copies of pages out under `root` as Common Crawl does; gives the hosts."""
    coin, noise = random.Random(0), random.Random(1)
    hosts = [f"www.site{number:05}.example" for number in range(HOSTS)]
    places = [(host, coin.randrange(len(pages))) for host in hosts for _ in range(PAGES_PER_HOST)]
    coin.shuffle(places)
    folder, number, file, index = f"crawl-data/{SNAPSHOT}/segments/{SEGMENT}/warc", 0, bytearray(), []
    (root / folder).mkdir(parents=True)
    for count, (host, page) in enumerate(places, 1):
        name = f"{folder}/{SNAPSHOT}-{number:05}.warc.gz"
        entry, content = own_copy(*pages[page], host)
        before, after = (neighbour(noise, size) for size in NEIGHBOURS_BYTES)
        file += before
        where = {"warc_filename": name, "warc_record_offset": len(file), "warc_record_length": len(content)}
        index.append(entry | where)
        file += content + after
        if len(file) > WARC_BYTES or count == len(places):
            (root / name).write_bytes(file)
            number, file = number + 1, bytearray()
    index.sort(key=lambda entry: entry["url_surtkey"])
    name = f"{TABLE}/crawl={SNAPSHOT}/subset=warc/part-00000.gz.parquet"
    write_index(index, root / name, row_group_size=2048)
    (root / PATHS.format(snapshot=SNAPSHOT)).write_bytes(gzip.compress(f"{name}\n".encode(), mtime=0))
    return hosts


def million(entries: list[dict], root: Path) -> None:
    """An index of INDEX_ROWS rows in several files, as Spark writes them: the rows at hand under generated hosts, with
    places and digests of their own, sorted by host."""
    frame = pl.DataFrame(pl.from_arrow(_as_table(entries)))
    coin = random.Random(2)
    for number in range(INDEX_FILES):
        rows_ = INDEX_ROWS // INDEX_FILES
        picked = frame[[coin.randrange(frame.height) for _ in range(rows_)]]
        serial = pl.int_range(number * rows_, (number + 1) * rows_, dtype=pl.Int64)
        host = pl.format("www.site{}.example", (serial // 5).cast(pl.String).str.zfill(6))
        digest = serial.hash(7).cast(pl.String).str.replace_all("[0189]", "A").str.pad_start(32, "B")
        moved = picked.with_columns(
            pl.format("https://{}{}", host, "url_path").alias("url"),
            pl.format("example,{},www)", host.str.slice(4, 10)).alias("url_surtkey"),
            host.alias("url_host_name"),
            digest.alias("content_digest"),
            pl.format("crawl-data/{}-{}.warc.gz", pl.lit(SNAPSHOT), (serial * 7919 % 800).cast(pl.String)).alias(
                "warc_filename"
            ),
            (serial // 800 * 25_000).cast(pl.Int32).alias("warc_record_offset"),
        )
        path = root / f"crawl={SNAPSHOT}/subset=warc/part-{number:05}.gz.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = moved.sort("url_surtkey").to_arrow().cast(SCHEMA)
        pq.write_table(table, path, compression="gzip", row_group_size=ROW_GROUP)


def _as_table(entries: list[dict]):
    import pyarrow as pa

    place = {"warc_filename": "x", "warc_record_offset": 0}
    return pa.Table.from_pylist([entry | place for entry in entries], SCHEMA)


def neighbour(noise: random.Random, size: int) -> bytes:
    """A gzip member of about `size` bytes that stands for a request or metadata record."""
    return gzip.compress(b"WARC/1.0\r\n" + noise.randbytes(size - 40), mtime=0)
