"""Members made of a small catalogue of texts, whose bands collide, and the plain answer to which of them survives."""

from pathlib import Path

import numpy as np

from assets.dedup_index import deciding, segments
from assets.dedup_index.segments import Members, Segment, Segments
from kernels.text import verify

BANDS = 14


class Catalogue:
    """Texts as their band hashes, (14,) uint64, zeros for a text without shingles, and their shingle sets."""

    def __init__(self, random: np.random.Generator, texts: int, kinds: int, values: int, shingles: int) -> None:
        self.hashes = random.integers(1, values + 1, (texts, BANDS)).astype(np.uint64)
        self.hashes *= np.where(
            random.random((texts, BANDS)) < 0.3, 1, random.integers(1, 1 << 60, (texts, BANDS))
        ).astype(np.uint64)
        centre = random.integers(0, 1 << 62, (kinds, shingles))
        self.sets = []
        for text in range(texts):
            mine = centre[text % kinds].copy()
            other = random.random(shingles) < random.choice([0.02, 0.1, 0.25])
            mine[other] = random.integers(0, 1 << 62, int(other.sum()))
            self.sets.append(np.unique(mine.astype(np.uint64)))
        self.hashes[random.random(texts) < 0.1] = 0
        self.sets = [one if hashes.any() else one[:0] for one, hashes in zip(self.sets, self.hashes)]


Row = tuple[str, int, int, int]  # doc_id, time, text of the catalogue, documents it stands for


def segment(folder: Path, catalogue: Catalogue, rows: list[Row]) -> Segment:
    """A segment of such rows, written."""
    texts = np.array([row[2] for row in rows])
    members, order = Members(
        np.array([row[0].encode() for row in rows], np.bytes_),
        np.array([row[1] for row in rows], np.int64),
        np.stack([texts // 2 + 1, texts], axis=1).astype(np.uint64),  # some texts agree in the first half
        np.array([row[3] for row in rows], np.int64),
        catalogue.hashes[texts],
    ).sorted()
    sets = [catalogue.sets[text] for text in texts[order].tolist()]
    lengths = np.array([len(one) for one in sets])
    digest, _ = segments.write(
        folder, members, lengths, lambda a, b: np.concatenate([np.zeros(0, np.uint64), *sets[a:b]])
    )
    return Segment(folder, digest)


def opened(folder: Path, catalogue: Catalogue, snapshots: dict[str, list[Row]]) -> Segments:
    """The segments of all snapshots that have rows."""
    names = sorted(name for name, rows in snapshots.items() if rows)
    return Segments(names, [segment(folder, catalogue, snapshots[name]) for name in names])


def nothing() -> tuple[Segments, deciding.Standing]:
    """An index of before the first snapshot."""
    return Segments([], []), deciding.alone(0)


def said(index: Segments, standing: deciding.Standing) -> dict[tuple[str, str], tuple]:
    """What stands of each (snapshot, doc_id), free of numbers: survivor, similarity, copy."""
    names = [(name, one.decode()) for name, each in zip(index.snapshots, index.segments) for one in each.ids.tolist()]
    rows = zip(standing.survivor.tolist(), standing.similarity.tolist(), standing.copy.tolist())
    return {name: (names[survivor], similarity, copy) for name, (survivor, similarity, copy) in zip(names, rows)}


def expected(
    catalogue: Catalogue, snapshots: dict[str, list[Row]], threshold: float
) -> dict[tuple[str, str], tuple[tuple[str, str], float, bool]]:
    """The same for all rows at once, plainly: copies follow the first, the others come in the order of survival."""
    every = sorted((time, doc_id, name, text) for name, rows in snapshots.items() for doc_id, time, text, _ in rows)
    first: dict[int, int] = {}
    for place, (_, _, _, text) in enumerate(every):
        first.setdefault(text, place)
    signed = [place for place in sorted(first.values()) if catalogue.hashes[every[place][3]].any()]
    texts = [every[place][3] for place in signed]
    numbers = np.stack([catalogue.hashes[text] for text in texts], axis=1) if texts else np.zeros((BANDS, 0), np.uint64)
    made = verify.assign_reference(verify.buckets_of(numbers)[0], [catalogue.sets[text] for text in texts], threshold)
    survivor = dict(zip(signed, (signed[k] for k in made.survivor.tolist())))
    similarity = dict(zip(signed, made.similarity.tolist()))
    found = {}
    for place, (_, doc_id, name, text) in enumerate(every):
        original = first[text]
        stays = every[survivor.get(original, original)]
        found[name, doc_id] = ((stays[2], stays[1]), similarity.get(original, 1.0), original != place)
    return found
