"""An index of all snapshots: what is needed of old documents to tell whether a new one is a duplicate of them.

It is a folder of immutable files named by their bytes, and one `index.json`, replaced last and atomically, that names
those in use. Adding a snapshot writes its own segment and looks into the others; no table of an old snapshot is read.
"""

from assets.dedup_index.index import FOLDER, Index, held
from assets.dedup_index.store import CorruptIndex

__all__ = ["FOLDER", "CorruptIndex", "Index", "held"]
