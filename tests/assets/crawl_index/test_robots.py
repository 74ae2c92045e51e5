"""A host stands in the ledger when its newest robots.txt or tdmrep.json closes all of it; then its pages stay out."""

import gzip
import io
from pathlib import Path

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from assets.crawl_index.optouts import Ledger
from assets.crawl_index.planning import make_plan
from assets.crawl_index.robots import opted_out
from assets.crawl_index.selection import Selection
from tests.assets.crawl_index.stand_in import SNAPSHOT


@pytest.fixture
def warc(tmp_path):
    """Writes responses (url, date, status, body) as a WARC file."""

    def write(*responses: tuple[str, str, int, str]) -> Path:
        path = tmp_path / "robots.warc.gz"
        with open(path, "wb") as file:
            writer = WARCWriter(file, gzip=True)
            for url, date, status, body in responses:
                head = StatusAndHeaders(f"{status} X", [("Content-Type", "text/plain")], protocol="HTTP/1.1")
                headers = {"WARC-Date": f"{date}T00:00:00Z"}
                record = writer.create_warc_record(
                    url, "response", io.BytesIO(body.encode()), http_headers=head, warc_headers_dict=headers
                )
                writer.write_record(record)
                record.raw_stream.close()  # a temporary file
        return path

    return write


@pytest.mark.parametrize(
    ("body", "is_closed"),
    [
        ("User-agent: CCBot\nDisallow: /\n", True),
        ("User-agent: GPTBot\nUser-agent: CCBot\nDisallow: /\n\nUser-agent: *\nAllow: /\n", True),
        ("User-agent: *\nDisallow: /\n", True),
        ("\ufeffUser-Agent: gptbot\nDisallow:/", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: CCBot\nAllow: /\n", True),  # the other agents stay outside
        ("User-agent: Googlebot\nDisallow: /\n", False),
        ("User-agent: *\nDisallow: /private/\n", False),
        ("User-agent: *\nDisallow:\n", False),
        ("<html>no robots here</html>", False),
        ("", False),
    ],
)
def test_a_robots_txt_that_keeps_a_miner_from_the_whole_site_is_an_opt_out(body, is_closed, warc):
    found = opted_out([warc(("https://example.org/robots.txt", "2024-05-01", 200, body))])
    assert bool(found.hosts) == is_closed and found.read == 1
    assert set(found.hosts) <= {"example.org"}


def test_agents_are_who_one_asks_for(warc):
    path = warc(("https://example.org/robots.txt", "2024-05-01", 200, "User-agent: GPTBot\nDisallow: /\n"))
    assert opted_out([path], ("CCBot",)).hosts == {} and opted_out([path], ("GPTBot",)).hosts


def test_the_newest_file_of_a_host_counts_in_whatever_order_they_come(warc):
    closed = ("https://a.org/robots.txt", "2024-05-01", 200, "User-agent: *\nDisallow: /")
    opened = ("http://a.org/robots.txt", "2024-06-01", 200, "User-agent: *\nDisallow:")
    gone = ("http://a.org/robots.txt", "2024-07-01", 404, "")
    for responses in ((closed, opened), (opened, closed), (closed, gone)):
        assert opted_out([warc(*responses)]).hosts == {}
    assert opted_out([warc(closed)]).hosts


def test_reserved_text_and_data_mining_of_the_whole_site_is_an_opt_out(warc):
    place = "https://{}.org/.well-known/tdmrep.json"
    found = opted_out(
        [
            warc(
                (place.format("all"), "2024-05-01", 200, '[{"location": "/", "tdm-reservation": 1}]'),
                (place.format("part"), "2024-05-01", 200, '[{"location": "/img/*", "tdm-reservation": 1}]'),
                (place.format("open"), "2024-05-01", 200, '[{"location": "/", "tdm-reservation": 0}]'),
                (place.format("bad"), "2024-05-01", 200, "{["),
                ("https://page.org/robots", "2024-05-01", 200, "User-agent: *\nDisallow: /"),
            )
        ]
    )
    assert set(found.hosts) == {"all.org"} and (found.read, found.in_part) == (4, 1)


def test_the_ledger_that_is_written_keeps_the_host_s_pages_out_and_not_its_subdomains(warc, common_crawl, tmp_path):
    found = opted_out([warc(("http://bitchmagazine.org/robots.txt", "2024-05-01", 200, "User-agent: *\nDisallow: /"))])
    (tmp_path / "ledger").write_text(found.lines())
    ledger = Ledger.read(tmp_path / "ledger")
    assert ledger.covers("bitchmagazine.org") == "bitchmagazine.org" and ledger.covers("www.bitchmagazine.org") is None
    plan = make_plan(str(common_crawl), Selection(SNAPSHOT), ledger=ledger)
    assert "bitchmagazine.org" not in plan.records["host"].to_list()
    assert plan.totals()["left_out"]["opt_out:domain_ledger:bitchmagazine.org"] > 0


def test_a_damaged_file_gives_what_is_readable_in_it(warc, tmp_path):
    path = warc(("https://a.org/robots.txt", "2024-05-01", 200, "User-agent: *\nDisallow: /"))
    torn = tmp_path / "torn.warc.gz"
    torn.write_bytes(path.read_bytes() + gzip.compress(b"WARC/1.0\r\nnothing")[:-4])
    found = opted_out([torn])
    assert set(found.hosts) == {"a.org"} and found.broken == 1
