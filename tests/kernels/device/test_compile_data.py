"""The kernels of the data stages compile to machine code for an H200, on a machine without a GPU too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.device.logprobs import has_triton

REPO = Path(__file__).resolve().parents[3]
PROGRAM = """
import triton.language as tl
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from kernels.device import kmeans_triton, minhash_triton, projection_triton

def check(kernel, kinds, **constants):
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else kinds.get(name, "i32") for name in names}
    places = {(names.index(name),): value for name, value in constants.items()}
    made = compile(ASTSource(kernel, signature, places), target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
    print(kernel.__name__, len(made.asm["cubin"]), made.metadata.shared)

long_ = "*i64"
check(minhash_triton._signatures, dict(hashes_ptr=long_, offsets_ptr=long_, a_ptr=long_, b_ptr=long_, out_ptr=long_),
      HASHES=minhash_triton.HASHES, VALUES=minhash_triton.VALUES)
tile = dict(ROWS=kmeans_triton.ROWS, CENTROIDS=kmeans_triton.CENTROIDS, WIDTH=kmeans_triton.WIDTH)
for kind, wide, precision in (("*fp32", tl.float32, "tf32x3"), ("*fp64", tl.float64, "ieee")):
    check(kmeans_triton._assign, dict(rows_ptr=kind, centroids_ptr=kind, labels_ptr=long_), WIDE=wide,
          PRECISION=precision, **tile)
check(kmeans_triton._sums, dict(rows_ptr="*bf16", order_ptr=long_, starts_ptr=long_, out_ptr="*fp64"),
      MEMBERS=kmeans_triton.MEMBERS, COLUMNS=kmeans_triton.COLUMNS)
check(projection_triton._project, dict(vectors_ptr="*fp32", partial_ptr="*fp32", seed="i64", parameters="i64"),
      SPLIT=True, ROWS=projection_triton.ROWS, PARAMETERS=projection_triton.PARAMETERS)
check(projection_triton._add_parts, dict(partial_ptr="*fp32", out_ptr="*fp32", scale="fp32"), FLAT=1024)
"""


@pytest.mark.skipif(not has_triton(), reason="no triton")
def test_kernels_compile_for_the_gpu(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(REPO)}
    program = tmp_path / "compiles.py"  # triton reads the source of kernels, not of this program
    program.write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(program)], cwd=REPO, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    sizes = [line.split() for line in done.stdout.splitlines()]
    assert len(sizes) == 6 and all(int(code) > 1000 for _, code, _ in sizes)
    assert all(int(shared) <= 227 * 1024 for _, _, shared in sizes)
