"""Every Triton kernel compiles to machine code for an H200 (compute capability 9.0), on a machine without a GPU too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.device.logprobs import has_triton

REPO = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
import triton.language as tl
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from kernels.device import (decode_triton, fused_triton, kmeans_triton, logprobs_triton, minhash_triton,
                            projection_triton, sampling_triton, scan_triton)

def check(kernel, kinds, constants):
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else kinds.get(name, "i32") for name in names}
    places = {(names.index(name),): value for name, value in constants.items()}
    made = compile(ASTSource(kernel, signature, places), target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    print(kernel.__name__, len(made.asm["cubin"]), made.metadata.shared)

float_, int_ = "*fp32", "*i64"
kinds = dict(logits_ptr=sys.argv[1], targets_ptr=int_, selected_ptr=float_, lse_ptr=float_, entropy_ptr=float_,
             of_selected_ptr=float_, of_lse_ptr=float_, of_entropy_ptr=float_, columns="i32", row_stride="i32",
             ignore_index="i32", softcap="fp32")
for name in "summed out of_out of_summed of_x x residual weight gate up of_gate of_up".split():
    kinds[name + "_ptr"] = sys.argv[1]
kinds |= dict(partial_ptr=float_, rotary_ptr=float_, size="i32", rows="i32", tokens="i32", heads="i32", half="i32",
              eps="fp32")
for name in ("_swiglu", "_add_rms_norm", "_norm_rope"):
    check(getattr(fused_triton, name), kinds, dict(BLOCK=1024))
    check(getattr(fused_triton, name + "_backward"), kinds, dict(BLOCK=1024))
pages = dict(q_ptr=sys.argv[1], keys_ptr=sys.argv[1], values_ptr=sys.argv[1], out_ptr=sys.argv[1], tables_ptr="*i32",
             lengths_ptr="*i32", partial_ptr=float_, stats_ptr=float_, table_stride="i32", kv_heads="i32", group="i32",
             heads="i32", splits="i32", width="i32", scale="fp32")
check(decode_triton._attend_split, pages, dict(S=32, SPLIT=256, GROUP=2, WIDTH=64))
check(decode_triton._put_together, pages, dict(SPLIT=256, WIDTH=64))
double = "*fp64"
drawn = dict(logits_ptr=float_, temperatures_ptr=double, top_ks_ptr=int_, top_ps_ptr=double, min_ps_ptr=double,
             uniforms_ptr=double, tokens_ptr=int_, logprobs_ptr=double, peaks_ptr=float_, sums_ptr=double,
             columns="i32")
check(sampling_triton._draw, drawn, dict(BLOCK=sampling_triton.BLOCK))
for k, capped, entropy in ((1, False, False), (3, True, True)):
    constants = dict(K=k, BLOCK=logprobs_triton.BLOCK, CAPPED=capped, ENTROPY=entropy)
    check(logprobs_triton._statistics, kinds, constants)
    check(logprobs_triton._gradient, kinds, constants)
if sys.argv[1] == "*fp32":  # once: these have types of their own
    at = dict(hashes_ptr=int_, offsets_ptr=int_, a_ptr=int_, b_ptr=int_, out_ptr=int_)
    check(minhash_triton._signatures, at, dict(HASHES=minhash_triton.HASHES, VALUES=minhash_triton.VALUES))
    tile = dict(ROWS=kmeans_triton.ROWS, CENTROIDS=kmeans_triton.CENTROIDS, WIDTH=kmeans_triton.WIDTH)
    for kind, wide, precision in ((float_, tl.float32, "tf32x3"), (double, tl.float64, "ieee")):
        at = dict(rows_ptr=kind, centroids_ptr=kind, labels_ptr=int_)
        check(kmeans_triton._assign, at, dict(tile, WIDE=wide, PRECISION=precision))
    at = dict(rows_ptr="*bf16", order_ptr=int_, starts_ptr=int_, out_ptr=double)
    check(kmeans_triton._sums, at, dict(MEMBERS=kmeans_triton.MEMBERS, COLUMNS=kmeans_triton.COLUMNS))
    at = dict(vectors_ptr=float_, partial_ptr=float_, out_ptr=float_, seed="i64", parameters="i64", scale="fp32")
    tile = dict(ROWS=projection_triton.ROWS, PARAMETERS=projection_triton.PARAMETERS)
    check(projection_triton._project, at, dict(tile, SPLIT=True))
    check(projection_triton._add_parts, at, dict(FLAT=projection_triton.FLAT))
    at = dict.fromkeys(scan_triton._forward.arg_names[:10] + scan_triton._backward.arg_names[:16], float_)
    at |= dict.fromkeys(["x_ptr", "write_ptr", "y_ptr", "of_x_ptr"], "*bf16") | dict(goes_on_ptr="*u8")
    tile = dict(KEPT=scan_triton.KEPT, CHANNELS=scan_triton.CHANNELS, STATES=16)
    check(scan_triton._forward, at, dict(tile, LEARNS=True))
    check(scan_triton._backward, at, tile)
"""


@pytest.mark.skipif(not has_triton(), reason="no triton")
@pytest.mark.parametrize("logits", ["*bf16", "*fp16", "*fp32"])
def test_kernels_compile_for_the_gpu(tmp_path, logits):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(REPO)}
    program = tmp_path / "compiles.py"  # triton reads the source of kernels, not of this program
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program), logits], cwd=REPO, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    sizes = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, *_ in sizes][9:13] == ["_statistics", "_gradient"] * 2
    assert len(sizes) == 13 + 8 * (logits == "*fp32")
    assert all(int(code) > 1000 for _, code, _ in sizes)
