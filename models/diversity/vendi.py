"""G-Vendi: the effective number of distinct directions among the (projected) gradients of a data set.

G-Vendi = exp(H(λ)), λ the eigenvalues of the Gram matrix of unit rows divided by their number (Jung et al.,
"Prismatic Synthesis", arXiv 2505.20161). Between 1 (all rows parallel) and min(n, k). Two properties to keep in
mind: it is blind to sign (v and -v count as one direction), and it has a finite-sample ceiling, so pools of
different size never compare.
"""

import numpy as np
import torch

from models.config import InputError


class DegenerateFeatures(InputError):
    """A feature row is zero or not finite, so it has no direction; the message names the row."""


def unit_rows(features_nk: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float64, shape (n, k). Raises DegenerateFeatures for a zero or non-finite row."""
    rows = np.asarray(features_nk, dtype=np.float64)
    if rows.ndim != 2 or not rows.size:
        raise DegenerateFeatures(f"features must be a non-empty (n, k) matrix, got shape {rows.shape}")
    lengths = np.sqrt(np.einsum("nk,nk->n", rows, rows))
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if bad.size:
        raise DegenerateFeatures(f"row {bad[0]} has length {lengths[bad[0]]} ({bad.size} such rows of {len(rows)})")
    return rows / lengths[:, None]


def g_vendi(features_nk: np.ndarray) -> float:
    """exp of the entropy of the spectrum of the rows' directions, in [1, min(n, k)].

    The smaller of the two Gram matrices is taken; both have the same non-zero eigenvalues.
    """
    rows = torch.from_numpy(unit_rows(features_nk))
    n, k = rows.shape
    return spectrum_diversity(rows @ rows.T / n if n <= k else rows.T @ rows / n)


def spectrum_diversity(gram: torch.Tensor) -> float:
    """exp of the Shannon entropy (nats) of the eigenvalues of a positive semi-definite matrix of trace 1."""
    eigenvalues = torch.linalg.eigvalsh(gram)
    positive = eigenvalues[eigenvalues > 1e-15]
    return float(torch.exp(-torch.sum(positive * torch.log(positive))))


def ceiling(n: int, k: int) -> float:
    """Expected G-Vendi of n isotropic random rows in k dimensions (Page's mean entropy of a Marchenko–Pastur spectrum).

    n·e^(-n/2k) for n ≤ k, k·e^(-k/2n) for n ≥ k. Diversity near it cannot be told from noise.
    """
    smaller, larger = min(n, k), max(n, k)
    return smaller * float(np.exp(-smaller / (2 * larger)))
