"""Vectors of 16 floats in numba: products of row tiles, exponentials, sums, each in one fixed order of operations.

Numba cannot say "keep these sums in registers" or "multiply and add in one rounding", so these few loops are written in
LLVM's own terms. Every entry of a product is one chain of fused multiply-adds in the order of depth, in a lane of its
own, so its bits do not depend on how many rows or threads the work is cut into, nor on the width of the machine's
vectors.

Arrays are flat float32; `at` is where a block begins, `stride` the distance between its rows, both in entries.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic

LANES = 16  # of one vector
PANEL = 32  # columns of a panel: two vectors
intrinsic: Any = numba_intrinsic  # it takes the typing context, of which callers know nothing
F32, F64, I32 = ir.FloatType(), ir.DoubleType(), ir.IntType(32)
VECTOR, WIDE, WHOLE = ir.VectorType(F32, LANES), ir.VectorType(F64, LANES), ir.VectorType(I32, LANES)
# exp on [-ln 2 / 2, ln 2 / 2]: Cephes' polynomial (expf.c), error below 2e-7; ln 2 as a short and a correcting part
LOG2E, LN2_HIGH, LN2_LOW = 1.44269504088896341, 0.693359375, -2.12194440e-4
POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
LEAST = -87.0  # below it the exponential is 0


def _data(context: Any, builder: ir.IRBuilder, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _load(builder: ir.IRBuilder, base: Any, index: Any) -> Any:
    found: Any = builder.load(builder.bitcast(builder.gep(base, [index]), VECTOR.as_pointer()))
    found.align = 4
    return found


def _store(builder: ir.IRBuilder, value: Any, base: Any, index: Any) -> None:
    done: Any = builder.store(value, builder.bitcast(builder.gep(base, [index]), VECTOR.as_pointer()))
    done.align = 4


def _same(value: float, kind: ir.VectorType = VECTOR) -> ir.Constant:
    return ir.Constant(kind, [value] * LANES)


def _spread(builder: ir.IRBuilder, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), ir.Constant(WHOLE, [0] * LANES))


def _call(builder: ir.IRBuilder, name: str, kind: Any, *arguments: Any) -> Any:
    signature = ir.FunctionType(kind, [one.type for one in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def _fma(builder: ir.IRBuilder, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, "llvm.fma.v16f32", VECTOR, a, b, c)


def _exp(builder: ir.IRBuilder, x: Any) -> Any:
    """exp of 16 numbers that are at most about 88; 0 below LEAST, NaN of NaN."""
    tiny = builder.fcmp_ordered("<", x, _same(LEAST))
    n = _call(builder, "llvm.rint.v16f32", VECTOR, builder.fmul(x, _same(LOG2E)))
    r = _fma(builder, n, _same(-LN2_HIGH), x)
    r = _fma(builder, n, _same(-LN2_LOW), r)
    p = _same(POLYNOMIAL[0])
    for factor in POLYNOMIAL[1:]:
        p = _fma(builder, p, r, _same(factor))
    p = builder.fadd(_fma(builder, builder.fmul(r, r), p, r), _same(1.0))
    exponent = _call(builder, "llvm.fptosi.sat.v16i32.v16f32", WHOLE, n)
    power = builder.shl(builder.add(exponent, _same(127, WHOLE)), _same(23, WHOLE))
    return builder.select(tiny, _same(0.0), builder.fmul(p, builder.bitcast(power, VECTOR)))


def _folded(builder: ir.IRBuilder, value: Any, kind: ir.VectorType) -> Any:
    """The sum of a vector's lanes: halves onto each other until one is left."""
    width = LANES
    while width > 1:
        width //= 2
        moved = [lane + width if lane < width else lane for lane in range(LANES)]
        other = builder.shuffle_vector(value, ir.Constant(kind, ir.Undefined), ir.Constant(WHOLE, moved))
        value = builder.fadd(value, other)
    return builder.extract_element(value, I32(0))


def _tile(rows: int, onto: bool) -> Any:
    @intrinsic
    def tile(typingctx, x, x_at, x_stride, w, w_at, w_stride, depth, y, y_at, y_stride):
        """y[row, :32] = (what it is, or 0) + sum over k < depth of x[row, k] * w[k, :32], k after k."""
        size = types.intp
        signature = types.void(x, size, size, w, size, size, size, y, size, size)

        def generate(context, builder, signature, args):
            xs, ws, ys = (_data(context, builder, signature.args[i], args[i]) for i in (0, 3, 7))
            (_, x_at, x_stride, _, w_at, w_stride, depth, _, y_at, y_stride), intp = args, args[1].type
            lanes = ir.Constant(intp, LANES)
            sums, places = [], []
            for row in range(rows):
                first = builder.add(y_at, builder.mul(y_stride, ir.Constant(intp, row)))
                for at in (first, builder.add(first, lanes)):
                    places.append(at)
                    sums.append(cgutils.alloca_once(builder, VECTOR))
                    builder.store(_load(builder, ys, at) if onto else _same(0.0), sums[-1])
            with cgutils.for_range(builder, depth) as loop:
                low_at = builder.add(w_at, builder.mul(loop.index, w_stride))
                low, high = _load(builder, ws, low_at), _load(builder, ws, builder.add(low_at, lanes))
                for row in range(rows):
                    at = builder.add(builder.add(x_at, builder.mul(x_stride, ir.Constant(intp, row))), loop.index)
                    factor = _spread(builder, builder.load(builder.gep(xs, [at])))
                    for total, part in ((sums[2 * row], low), (sums[2 * row + 1], high)):
                        builder.store(_fma(builder, factor, part, builder.load(total)), total)
            for total, at in zip(sums, places, strict=True):
                _store(builder, builder.load(total), ys, at)
            return context.get_dummy_value()

        return signature, generate

    return tile


_SET_1, _SET_2, _SET_4, _SET_8 = (_tile(rows, False) for rows in (1, 2, 4, 8))
_ADD_1, _ADD_2, _ADD_4, _ADD_8 = (_tile(rows, True) for rows in (1, 2, 4, 8))


@njit(cache=True)
def product(x, x_at, x_stride, w, w_at, w_stride, depth, y, y_at, y_stride, rows):
    """y[row, :32] = x[row, :depth] @ w[:depth, :32] for each row; the tile that takes a row changes no bit of it."""
    row = 0
    while rows - row >= 8:
        _SET_8(x, x_at + row * x_stride, x_stride, w, w_at, w_stride, depth, y, y_at + row * y_stride, y_stride)
        row += 8
    if rows - row >= 4:
        _SET_4(x, x_at + row * x_stride, x_stride, w, w_at, w_stride, depth, y, y_at + row * y_stride, y_stride)
        row += 4
    if rows - row >= 2:
        _SET_2(x, x_at + row * x_stride, x_stride, w, w_at, w_stride, depth, y, y_at + row * y_stride, y_stride)
        row += 2
    if rows - row >= 1:
        _SET_1(x, x_at + row * x_stride, x_stride, w, w_at, w_stride, depth, y, y_at + row * y_stride, y_stride)


@njit(cache=True)
def add_product(x, x_at, x_stride, w, w_at, w_stride, depth, y, y_at, y_stride, rows):
    """y[row, :32] += x[row, :depth] @ w[:depth, :32], as `product`; what y holds is the beginning of the sum."""
    row = 0
    while rows - row >= 8:
        _ADD_8(x, x_at + row * x_stride, x_stride, w, w_at, w_stride, depth, y, y_at + row * y_stride, y_stride)
        row += 8
    if rows - row >= 4:
        _ADD_4(x, x_at + row * x_stride, x_stride, w, w_at, w_stride, depth, y, y_at + row * y_stride, y_stride)
        row += 4
    if rows - row >= 2:
        _ADD_2(x, x_at + row * x_stride, x_stride, w, w_at, w_stride, depth, y, y_at + row * y_stride, y_stride)
        row += 2
    if rows - row >= 1:
        _ADD_1(x, x_at + row * x_stride, x_stride, w, w_at, w_stride, depth, y, y_at + row * y_stride, y_stride)


@intrinsic
def exponentials(typingctx, a, at, count, shift, scale, out, out_at):
    """out = exp((a - shift) * scale), `count` entries, a multiple of 16; the float64 sum of them."""
    signature = types.float64(a, types.intp, types.intp, types.float32, types.float32, out, types.intp)

    def generate(context, builder, signature, args):
        source, target = (_data(context, builder, signature.args[i], args[i]) for i in (0, 5))
        _, at, count, shift, scale, _, out_at = args
        shift, scale = _spread(builder, shift), _spread(builder, scale)
        total = cgutils.alloca_once(builder, WIDE)
        builder.store(_same(0.0, WIDE), total)
        lanes = ir.Constant(at.type, LANES)
        with cgutils.for_range(builder, builder.sdiv(count, lanes)) as loop:
            step = builder.mul(loop.index, lanes)
            value = builder.fsub(_load(builder, source, builder.add(at, step)), shift)
            value = _exp(builder, builder.fmul(value, scale))
            _store(builder, value, target, builder.add(out_at, step))
            builder.store(builder.fadd(builder.load(total), builder.fpext(value, WIDE)), total)
        return _folded(builder, builder.load(total), WIDE)

    return signature, generate


@intrinsic
def largest(typingctx, a, at, count):
    """The largest of `count` entries, a multiple of 16; NaN is passed over."""
    signature = types.float32(a, types.intp, types.intp)

    def generate(context, builder, signature, args):
        source = _data(context, builder, signature.args[0], args[0])
        _, at, count = args
        most = cgutils.alloca_once(builder, VECTOR)
        builder.store(_same(-np.inf), most)
        lanes = ir.Constant(at.type, LANES)

        def greater(value, other):
            return builder.select(builder.fcmp_ordered(">", value, other), value, other)

        with cgutils.for_range(builder, builder.sdiv(count, lanes)) as loop:
            value = _load(builder, source, builder.add(at, builder.mul(loop.index, lanes)))
            builder.store(greater(value, builder.load(most)), most)
        found, best = builder.load(most), None
        for lane in range(LANES):
            value = builder.extract_element(found, I32(lane))
            best = value if best is None else greater(value, best)
        return best

    return signature, generate


@intrinsic
def squares(typingctx, a, at, count):
    """The sum of the squares of `count` entries, a multiple of 16."""
    signature = types.float32(a, types.intp, types.intp)

    def generate(context, builder, signature, args):
        source = _data(context, builder, signature.args[0], args[0])
        _, at, count = args
        total = cgutils.alloca_once(builder, VECTOR)
        builder.store(_same(0.0), total)
        lanes = ir.Constant(at.type, LANES)
        with cgutils.for_range(builder, builder.sdiv(count, lanes)) as loop:
            value = _load(builder, source, builder.add(at, builder.mul(loop.index, lanes)))
            builder.store(_fma(builder, value, value, builder.load(total)), total)
        return _folded(builder, builder.load(total), VECTOR)

    return signature, generate


@intrinsic
def swiglu(typingctx, gate, gate_at, up, up_at, count):
    """gate = gate / (1 + exp(-gate)) * up, in place, `count` entries, a multiple of 16."""
    signature = types.void(gate, types.intp, up, types.intp, types.intp)

    def generate(context, builder, signature, args):
        gates, ups = (_data(context, builder, signature.args[i], args[i]) for i in (0, 2))
        _, gate_at, _, up_at, count = args
        lanes = ir.Constant(gate_at.type, LANES)
        with cgutils.for_range(builder, builder.sdiv(count, lanes)) as loop:
            step = builder.mul(loop.index, lanes)
            at = builder.add(gate_at, step)
            value = _load(builder, gates, at)
            bounded = builder.select(builder.fcmp_ordered("<", value, _same(LEAST)), _same(LEAST), value)
            below = builder.fadd(_exp(builder, builder.fneg(bounded)), _same(1.0))
            value = builder.fmul(builder.fdiv(value, below), _load(builder, ups, builder.add(up_at, step)))
            _store(builder, value, gates, at)
        return context.get_dummy_value()

    return signature, generate
