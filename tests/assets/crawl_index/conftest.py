"""The stand-in for Common Crawl, in a folder, behind a web server and in a bucket."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from assets.crawl_index import ranges
from assets.crawl_index.plan import read_plan, write_plan
from assets.crawl_index.planning import make_plan
from assets.crawl_index.selection import Selection
from tests.assets.crawl_index.stand_in import SNAPSHOT, build
from tests.faults.range_server import RangeServer


@pytest.fixture(scope="session")
def common_crawl(tmp_path_factory, bundled_crawl) -> Path:
    """The stand-in's root folder."""
    return build(tmp_path_factory.mktemp("crawl") / "bucket", bundled_crawl)


@pytest.fixture
def web(common_crawl):
    """The stand-in behind a web server."""
    with RangeServer(common_crawl) as server:
        yield server


@pytest.fixture(scope="session")
def bucket(common_crawl, s3) -> SimpleNamespace:
    """The stand-in in a bucket: url, options, port."""
    import s3fs

    endpoint = s3["AWS_ENDPOINT_URL"]
    fs = s3fs.S3FileSystem(key="test", secret="test", endpoint_url=endpoint)
    fs.mkdir("stand-in-crawl")
    fs.put(f"{common_crawl}/", "stand-in-crawl/", recursive=True)
    return SimpleNamespace(url="s3://stand-in-crawl", options=s3, port=int(endpoint.rsplit(":", 1)[1]))


@pytest.fixture(scope="session")
def sliced():
    """The plain way: records cut out of the files, one after the other."""

    def cut(root: Path, records: pl.DataFrame) -> bytes:
        pieces = []
        for row in records.iter_rows(named=True):
            content = (root / row["warc_filename"]).read_bytes()
            pieces.append(content[row["warc_offset"] : row["warc_offset"] + row["warc_length"]])
        return b"".join(pieces)

    return cut


@pytest.fixture(scope="session")
def plan_path(common_crawl, tmp_path_factory) -> Path:
    """A plan of a hundred records in several requests and three outputs, without the page that opts out itself."""
    path = tmp_path_factory.mktemp("plan") / "plan.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "GAP_BYTES", 2000)
        patch.setattr(ranges, "STREAM_SHARE", 0.97)
        patch.setattr(ranges.outputs, "__defaults__", (800_000,))
        refusing = make_plan(str(common_crawl), Selection(SNAPSHOT, hosts=("lobste.rs",)))
        plan = make_plan(
            str(common_crawl),
            Selection(SNAPSHOT, languages=("eng",), limit=100),
            source=str(common_crawl),
            held=refusing.records["content_digest"],
        )
    write_plan(plan, path)
    totals = plan.totals()
    assert totals["records"] == 100 and totals["requests"] > 8 and totals["outputs"] == 3
    return path


@pytest.fixture(scope="session")
def undisturbed(plan_path, common_crawl, sliced) -> dict[str, str]:
    """Path and sha256 of what the fetch must make, found the plain way."""
    records = read_plan(plan_path).records
    name = hashlib.sha256(plan_path.read_bytes()).hexdigest()[:12]
    return {
        f"{SNAPSHOT}/{SNAPSHOT}-{name}-{output:05}.warc.gz": hashlib.sha256(
            sliced(common_crawl, records.filter(pl.col("output") == output))
        ).hexdigest()
        for output in range(3)
    }
