"""Walking records: damage costs only what it hits, and no file makes the walk read itself over and over."""

from itertools import pairwise

import pytest

from assets.steps.members import BytesView
from assets.steps.records import MAX_HEADER_BYTES, Broken, Raw, records

RECORD = b"WARC/1.0\r\nWARC-Type: metadata\r\nContent-Length: 4\r\n\r\nbody\r\n\r\n"


class CountingView(BytesView):
    """Counts the bytes that are handed out."""

    handed_out = 0

    def read(self, offset: int, length: int) -> bytes:
        content = super().read(offset, length)
        self.handed_out += len(content)
        return content


@pytest.mark.parametrize(
    "piece",
    [
        b"WARC/1.0\r\nA:",
        b"WARC/1.0\r\nA: b\r\n\r\n",
        b"WARC/1.0\r\nWARC-Type: x\r\nContent-Length: 99999999\r\n\r\n",
        b"WARC/1.0\r\nWARC-Type: x\r\nContent-Length: 1\r\n\r\n",
        b"WARC/1.0\r\nWARC-Type: x\r\nContent-Length: -1\r\n\r\n",
        b"WARC/nonsense\r\n",
        b"\r\n",
        b"junk\n",
    ],
)
def test_hostile_file_is_read_a_bounded_number_of_times(piece):
    view = CountingView(b"\n" + piece * (400_000 // len(piece)))
    for _ in records(view):
        pass
    assert view.handed_out < 400 * view.size  # a few KB for each record start, however many there are


def test_pieces_and_records_cover_the_view_without_overlap():
    content = RECORD + b"junk\r\n" + RECORD + b"WARC/1.0\r\nA: b\r\n\r\n" + RECORD + RECORD[:30]
    spans = [(item.inner, item.end) for item in records(BytesView(content))]
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    covered = sum(end - start for start, end in spans)
    assert covered + content.count(b"body\r\n\r\n") * 4 + 2 >= len(content)


def test_record_after_a_torn_header_is_read():
    items = list(records(BytesView(RECORD[:25] + b"\r\n" + RECORD)))
    assert [type(item) for item in items] == [Broken, Raw]
    assert items[0].end == items[1].inner == 27


def test_header_is_read_as_the_standard_says():
    lines = [
        b"warc/1.1",
        b"warc-TYPE: Metadata",
        b"X-Folded: a",
        b" b",
        b"X-Twice: first",
        b"X-Twice: second",
        b"no colon here",
        b"Content-Length: 4",
        b"Content-Length: 4",
        "X-Utf8: ž".encode(),
    ]
    for end in (b"\r\n", b"\n"):
        (item,) = records(BytesView(end.join(lines) + end + end + b"body"))
        assert isinstance(item, Raw)
        assert item.type == "metadata"
        expected = {"x-folded": "a b", "x-twice": "first", "x-utf8": "ž", "content-length": "4"}
        assert item.headers == {"warc-type": "Metadata", **expected}


def test_two_content_lengths_leave_the_end_in_doubt():
    content = RECORD.replace(b"Content-Length: 4", b"Content-Length: 4\r\nContent-Length: 5")
    (item,) = records(BytesView(content))
    assert isinstance(item, Broken)
    assert item.damage.reason == "bad_content_length"


def test_header_of_the_largest_size_is_read():
    padding = b"X: " + b"a" * (MAX_HEADER_BYTES - len(RECORD) - 20) + b"\r\n"
    (item,) = records(BytesView(RECORD.replace(b"WARC-Type", padding + b"WARC-Type")))
    assert isinstance(item, Raw)
