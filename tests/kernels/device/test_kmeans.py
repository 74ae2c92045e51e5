"""Steps of k-means on any device are those of models/diversity/kmeans.py, up to the rounding of the rows' dtype."""

import numpy as np
import pytest
import torch

from kernels.device import kmeans
from kernels.device import kmeans_reference as reference
from kernels.device.logprobs import UnusableShapes, has_triton
from models.diversity.kmeans import _means, nearest, spherical_kmeans
from tests.kernels.device.margins import with_margins

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TRITON = pytest.mark.skipif(not has_triton(), reason="no triton")
PASSES = ["torch", pytest.param("triton", marks=TRITON)]
TOLERANCE = {torch.float64: 1e-14, torch.float32: 2e-5, torch.float16: 1e-3}


def directions(count, width, dtype=torch.float64, seed=0):
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (rows / rows.norm(dim=1, keepdim=True)).to(DEVICE, dtype)


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize(("rows", "clusters", "width"), [(1, 1, 1), (131, 67, 45), (70, 130, 33)])
def test_chosen_centroids_are_as_near_as_those_that_torch_chooses(passes, dtype, rows, clusters, width):
    x, centroids = directions(rows, width, dtype), directions(clusters, width, dtype, seed=1)
    exact = x.double() @ centroids.double().T
    best = exact.amax(1)
    own = exact.gather(1, kmeans.assign(x, centroids, passes)[:, None])[:, 0]
    theirs = exact.gather(1, (x @ centroids.T).argmax(1)[:, None])[:, 0]
    assert float((best - own).max()) <= float((best - theirs).max()) + TOLERANCE[dtype]
    assert torch.equal(reference.assign(x, centroids), exact.argmax(1))


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_of_equal_centroids_the_first_is_taken(passes, dtype):
    centroids = torch.eye(5, device=DEVICE, dtype=dtype)[[3, 1, 0, 2, 1, 0]].repeat(20, 1)
    labels = kmeans.assign(torch.eye(5, device=DEVICE, dtype=dtype), centroids, passes)
    assert labels.tolist() == [2, 1, 3, 0, 0]  # nothing lies along the last axis: all are equal


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_new_centroids_are_the_directions_of_sums(passes, dtype):
    x, previous = directions(101, 70, dtype), directions(5, 70, seed=1)
    labels = torch.randint(0, 4, (101,), generator=torch.Generator().manual_seed(2)).to(DEVICE)
    labels[labels == 2] = 3  # the clusters 2 and 4 are empty
    labels[:2], x[0], labels[x.shape[0] - 1] = 2, -x[1], 3  # and 2 has members that cancel
    found = kmeans.means(x, labels, previous, passes)
    torch.testing.assert_close(found, reference.means(x, labels, previous), rtol=0, atol=1e-14)
    assert torch.equal(found[[2, 4]], previous[[2, 4]])
    assert torch.equal(found, kmeans.means(x, labels, previous, passes))


@pytest.mark.parametrize("passes", PASSES)
def test_lloyds_steps_end_where_the_data_stage_ends(passes):
    x = directions(60, 20)
    ids = [f"{row:03d}" for row in range(len(x))]
    expected = spherical_kmeans(ids, x.cpu().numpy(), 4, seed=3)
    centroids = torch.from_numpy(spherical_kmeans(ids, x.cpu().numpy(), 4, seed=3, max_iterations=0).centroids_ck)
    centroids = centroids.to(DEVICE)
    labels = kmeans.assign(x, centroids, passes)
    for _ in range(20):
        centroids = kmeans.means(x, labels, centroids, passes)
        before, labels = labels, kmeans.assign(x, centroids, passes)
        if torch.equal(before, labels):
            break
    assert np.array_equal(labels.cpu(), expected.labels_n)
    np.testing.assert_allclose(centroids.cpu(), expected.centroids_ck, rtol=0, atol=1e-14)


def test_the_reference_is_the_data_stages_rule():
    x, previous = directions(50, 6).cpu(), directions(7, 6, seed=1).cpu()
    labels = reference.assign(x, previous)
    assert np.array_equal(labels, nearest(x.numpy(), previous.numpy()))
    expected = _means(x.numpy(), labels.numpy(), previous.numpy())
    np.testing.assert_allclose(reference.means(x, labels, previous), expected, rtol=0, atol=1e-14)


@TRITON
def test_triton_touches_only_its_own_bytes(monkeypatch):
    from kernels.device import kmeans_triton

    margins = with_margins(monkeypatch, kmeans_triton.torch)
    x, centroids = (
        margins.buffer((count, 37), device=DEVICE).copy_(directions(count, 37, torch.float32, seed=count))
        for count in (71, 9)
    )
    labels = kmeans.assign(x, centroids, "triton")
    assert torch.equal(labels, reference.assign(x, centroids))
    moved = kmeans.means(x, labels, centroids, "triton")
    torch.testing.assert_close(moved.double(), reference.means(x, labels, centroids), rtol=0, atol=1e-7)
    margins.check(at_least=4)


def test_arguments_that_do_not_belong_together_are_refused():
    x = directions(4, 3)
    with pytest.raises(UnusableShapes, match="no one width"):
        kmeans.assign(x, x[:, :2])
    with pytest.raises(UnusableShapes, match="no row"):
        kmeans.assign(x[:0], x)
    with pytest.raises(UnusableShapes, match="labels"):
        kmeans.means(x, torch.zeros(3, dtype=torch.int64), x)
