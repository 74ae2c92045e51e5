"""The index brought up to what the corpus holds: segments of changed snapshots, decisions that follow, changed rows.

The table corpus_clusters has one file a snapshot and language, and its bytes are a function of the corpora alone: in
whatever order snapshots came, went or changed, the same ones give the same files. Files are written first, then the
table's transaction, then `index.json`, then what is no longer named goes: killed anywhere, the next update finds the
index of before and does the same again.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from assets.dedup_index import deciding, segments, standing, store
from assets.dedup_index.index import FOLDER, Entry, Index
from assets.dedup_index.reading import write_segments
from assets.dedup_index.segments import Segment, Segments
from assets.dedup_index.standing import TABLE
from assets.lake import Commit, Lake, PartMissing
from assets.parts import PartFile, data_version

OnProgress = Callable[[int, int, str], None]


def update(lake: Lake, line_filter: str, similarity: float, on_progress: OnProgress | None = None) -> Commit:
    """Brings index and table to the present corpora and returns the table's commit. What is current costs a look.

    line_filter, similarity: of the policy; other ones than before make all segments, or all decisions, anew.
    Raises TableMissing, CommitConflict, CorruptIndex.
    """
    folder = lake.local / FOLDER
    with _alone(folder), TemporaryDirectory(dir=folder) as scratch:
        before = Index.load(folder)
        now = Index(line_filter, similarity, corpus_versions(lake))
        said = _segments(lake, folder, before, now, Path(scratch), on_progress or (lambda *_: None))
        for language in sorted(said):
            _settle(lake, folder, before, now, language, said[language], Path(scratch))
        try:
            commit = lake.commit(TABLE, [entry.part for entry in now.all()], replace={})
        except PartMissing:  # a file that the index knew is gone: its rows are written again
            _write_rows_again(lake, folder, now)
            commit = lake.commit(TABLE, [entry.part for entry in now.all()], replace={})
        if now != before:
            now.save(folder)
        store.sweep(folder, segments.SUFFIX, {entry.segment for entry in now.all()})
        store.sweep(folder, standing.SUFFIX, {entry.standing for entry in now.all()})
    return commit


def corpus_versions(lake: Lake) -> dict[str, str]:
    """Data version of every snapshot's corpus, from the table's log alone. Raises TableMissing."""
    parts: dict[str, list[PartFile]] = {}
    for part in lake.parts("corpus"):
        parts.setdefault(part.partition["snapshot"], []).append(part)
    return {snapshot: data_version(of) for snapshot, of in sorted(parts.items())}


Said = dict[str, dict[str, tuple[str, int]]]  # language -> snapshot -> (digest of the segment, members)


def _segments(lake: Lake, folder: Path, before: Index, now: Index, scratch: Path, on_progress: OnProgress) -> Said:
    """The segments of the present corpora; those of changed snapshots are written."""
    said: Said = {}
    comparable = before.line_filter == now.line_filter
    changed = [one for one, version in now.snapshots.items() if before.snapshots.get(one) != version or not comparable]
    for language, of in before.entries.items():
        for snapshot, entry in of.items():
            if snapshot in now.snapshots and snapshot not in changed:
                said.setdefault(language, {})[snapshot] = (entry.segment, entry.members)
    for number, snapshot in enumerate(changed):
        known = {
            language: Segment(folder, of[snapshot].segment)
            for language, of in before.entries.items()
            if snapshot in of and comparable
        }
        with TemporaryDirectory(dir=scratch) as place:
            made = write_segments(lake, snapshot, folder, known, now.line_filter, Path(place))
        for language, one in made.items():
            said.setdefault(language, {})[snapshot] = one
        on_progress(number + 1, len(changed), snapshot)
    return said


def _settle(
    lake: Lake, folder: Path, before: Index, now: Index, language: str, said: dict[str, tuple[str, int]], scratch: Path
) -> None:
    """The entries of a language: decided anew where segments changed, written anew where rows did."""
    same_rule = (before.line_filter, before.similarity) == (now.line_filter, now.similarity)
    known = before.entries.get(language, {}) if same_rule else {}
    if said == {snapshot: (entry.segment, entry.members) for snapshot, entry in known.items()}:
        now.entries[language] = known
        return
    old = before.opened(folder, language) if same_rule else Segments([], [])
    was = before.stands(folder, language, old) if same_rule else deciding.alone(0)
    names = sorted(said)
    new = Segments(names, [Segment(folder, said[name][0]) for name in names])
    moved = deciding.carried(old, new)
    stands = deciding.decide(old, was, new, moved, now.similarity, scratch)
    size = standing.sizes(new, stands)
    differs, kept = np.ones(len(new), bool), np.flatnonzero(moved >= 0)
    at = moved[kept]
    differs[at] = (
        (moved[was.survivor[kept]] != stands.survivor[at])
        | (was.similarity[kept] != stands.similarity[at])
        | (was.copy[kept] != stands.copy[at])
        | (standing.sizes(old, was)[kept] != size[at])
    )
    remade = np.array([name not in known or known[name].segment != said[name][0] for name in names])
    now.entries[language] = {}
    for k, name in enumerate(names):
        mine = slice(*new.offsets[k : k + 2])
        rows_differ = bool(remade[k] or differs[mine].any())
        points_differ = rows_differ or bool(remade[np.unique(new.segment_of(stands.survivor[mine]))].any())
        now.entries[language][name] = Entry(
            *said[name],
            standing.save(folder, new, stands, k) if points_differ else known[name].standing,
            standing.write_part(lake, standing.rows(new, stands, size, k, language))
            if rows_differ
            else known[name].part,
        )


def _write_rows_again(lake: Lake, folder: Path, index: Index) -> None:
    for language, of in index.entries.items():
        opened = index.opened(folder, language)
        stands = index.stands(folder, language, opened)
        size = standing.sizes(opened, stands)
        for k, name in enumerate(opened.snapshots):
            part = standing.write_part(lake, standing.rows(opened, stands, size, k, language))
            of[name] = Entry(of[name].segment, of[name].members, of[name].standing, part)


def differences(lake: Lake, rows: pl.DataFrame) -> list[str]:
    """What of the table does not follow from the index: languages, and snapshots of which it knows another corpus.

    rows: of corpus_clusters. Raises CorruptIndex.
    """
    folder = lake.local / FOLDER
    index, versions = Index.load(folder), corpus_versions(lake)
    wrong = sorted(name for name in {*versions, *index.snapshots} if versions.get(name) != index.snapshots.get(name))
    for language in sorted({*index.entries, *rows["language"].unique().to_list()}):
        opened = index.opened(folder, language)
        stands = index.stands(folder, language, opened)
        size = standing.sizes(opened, stands)
        parts = [standing.rows(opened, stands, size, k, language) for k in range(len(opened.snapshots))]
        mine = rows.filter(pl.col("language") == language)
        order = ["snapshot", "doc_id"]
        if not parts or not pl.concat(parts).sort(order).equals(mine.select(parts[0].columns).sort(order)):
            wrong.append(language)
    return wrong


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process works on the index, and removes what a killed one left unfinished."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove_scratch(folder)
        yield


def _remove_scratch(folder: Path) -> None:
    import shutil

    for path in folder.glob("tmp*"):
        shutil.rmtree(path)
