"""How MinHash signatures are cut into bands: FineWeb's 14 of 8 values, and the hash that no band has."""

import numpy as np

BANDS = 14
ROWS = 8  # values in a band
HASHES = BANDS * ROWS
NO_BAND = np.uint64(0)  # the hash of a document that takes no part; no band has it
