"""Fractal 3-D OpenSimplex noise on a plane (AnoDDPM; Wyatt et al., CVPR Workshops 2022), compiled with Numba.

The noise function with its lattice, gradients, kernel and permutation is OpenSimplex by Kurt Spencer (public domain,
2014), as packaged in ``opensimplex`` by Lex Wolf and others (MIT licence). The evaluation is our own. The published
code walks, pixel by pixel, through a decision tree that names the lattice points that reach the pixel q and adds

    max(0, 2 - |q - p|^2)^4 * <g_p, q - p> / 103,   p = (i, j, k) + (i + j + k) / 3,

for each, g_p being one of 24 gradients picked by the permutation. Two observations make this fast:

* The points it names are all those nearer than sqrt(2), with one exception (below). So the loops can be turned round:
  on a plane of constant z each lattice point reaches a disc of pixels. We run over lattice points and add their discs
  row by row: no decision tree, one look-up of the permutation a lattice point, and SIMD code over columns, written as
  LLVM vectors (``_block_code``): with plain loops in its place a field takes 3.4 times as long, as Numba leaves loops
  this short scalar (Xeon with AVX-512; ``tests/benchmarks/test_kernels_speed.py`` measures a block both ways).
* The exception: inside a tetrahedron of the lattice with barycentric coordinates l1 >= l2 >= l3 >= l4 of q, the
  published code leaves out the point v1 + v3 - v4, though 2 - |q - p|^2 = 2 (l1 + l3 - l4) - 1 - sum(l^2) may reach
  1/6 there. That is some 3 % of the pixels and at most 1e-4 in value. Which pixels does not depend on the seed: they
  are listed once for a geometry and the surplus is taken off.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from uadbench.engine.kernels.shares import in_shares
from uadbench.engine.kernels.simplex_omissions import NORM, omissions

__all__ = ["simplex_fields"]

# Edge vectors of the rhombicuboctahedron of the published 3-D noise: signs (x, y, z), then the place of the 11.
_SIGNS = [(x, y, z) for z in (1, -1) for y in (1, -1) for x in (-1, 1)]
_GRADIENTS = np.array([np.multiply(s, e) for s in _SIGNS for e in 4 + 7 * np.eye(3)])
_LANES = 16  # columns are added in blocks of at most so many
_SMALL_WINDOW = 48  # discs no wider than this are added as squares: finding each row's chord would cost more
# Where a block begins decides how its offsets round: another bound, or another left end, changes a field's last bits.

# cache=True keeps the compiled code in the __pycache__ folder beside this file (or, where that is not writable, in the
# user's Numba cache folder or NUMBA_CACHE_DIR; Numba needs one of them), so only the first process on a machine pays
# for it. nogil lets threads draw noise in parallel (``shares``); there is no prange, because Numba's default threading
# layer must not be entered from two threads at once. No fastmath: all machines do the same IEEE operations in the same
# order and get the same bits.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit("void(int64, int64[::1])", **_OPTIONS)
def _permute(seed, perm):
    """Fill ``perm`` (256) with the permutation of 0..255 that ``opensimplex`` derives from ``seed``."""
    state = np.uint64(seed)
    factor, step = np.uint64(6364136223846793005), np.uint64(1442695040888963407)
    for _ in range(3):
        state = state * factor + step
    source = np.arange(256)
    for i in range(255, -1, -1):
        state = state * factor + step
        # the remainder is taken twice, because state + 31 may pass 2^63 and the original adds in unbounded integers
        r = (np.int64(state) % (i + 1) + 31) % (i + 1)
        perm[i] = source[r]
        source[r] = source[i]


@njit("int64(int64[::1], int64, int64, int64)", inline="always", **_OPTIONS)
def _gradient_index(perm, i, j, k):
    return perm[(perm[(perm[i & 255] + j) & 255] + k) & 255] % 24


def _block_code(lanes: int) -> Any:
    """Code of f(flat, start, c, dx, dx_half, step, gx, h), all but start float32:
    flat[start + n] += max(0, c - d^2)^4 * (gx * d + h) for n < lanes, with d = dx + n * step in the first 8 lanes and
    d = dx_half + (n - 8) * step in the others, so that 16 lanes round as twice 8 do.
    """

    def code(typingctx, flat, start, c, dx, dx_half, step, gx, h):
        signature = types.void(flat, types.int64, *[types.float32] * 6)

        def codegen(context, builder, signature, args):
            vector = ir.VectorType(ir.FloatType(), lanes)
            zeros = ir.Constant(vector, [0.0] * lanes)

            def spread(scalar, other=None):
                pair = ir.Constant(ir.VectorType(ir.FloatType(), 2), [0.0, 0.0])
                for n, value in enumerate((scalar, scalar if other is None else other)):
                    pair = builder.insert_element(pair, value, ir.Constant(ir.IntType(32), n))
                picks = [n // 8 for n in range(lanes)]
                return builder.shuffle_vector(
                    pair, pair, ir.Constant(ir.VectorType(ir.IntType(32), lanes), picks)
                )

            array = context.make_array(signature.args[0])(context, builder, args[0])
            pointer = builder.bitcast(builder.gep(array.data, [args[1]]), vector.as_pointer())
            c, step, gx, h = (spread(args[n]) for n in (2, 5, 6, 7))
            count = ir.Constant(vector, [float(n % 8) for n in range(lanes)])
            d = builder.fadd(spread(args[3], args[4]), builder.fmul(count, step))
            a = builder.fsub(c, builder.fmul(d, d))
            a = builder.select(builder.fcmp_ordered(">", a, zeros), a, zeros)
            a = builder.fmul(a, a)
            value = builder.fmul(builder.fmul(a, a), builder.fadd(builder.fmul(gx, d), h))
            builder.store(builder.fadd(builder.load(pointer, align=4), value), pointer, align=4)
            return context.get_dummy_value()

        return signature, codegen

    return intrinsic(code)


_add_8, _add_16 = _block_code(8), _block_code(16)


@njit("void(float32[::1], i8, i8, i8, int64[::1], float64[:, ::1], f8, f8, f8)", **_OPTIONS)
def _add_octave(flat, height, width, stride, perm, gradients, frequency, z, amplitude):
    """Add amplitude * (sum over all lattice points) to ``flat``, [height, stride] with stride >= width + _LANES."""
    inv, reach = 1.0 / frequency, math.sqrt(2.0)
    step, scaled = np.float32(inv), gradients * (amplitude / NORM)
    x_max, y_max = (width - 1) * inv, (height - 1) * inv
    window = 2.0 * reach * frequency + 1.0
    # what is the same along a row is computed first, for all rows of a disc, in loops that are vectorised
    cs, hs = np.empty(height, dtype=np.float32), np.empty(height, dtype=np.float32)
    lefts, rights = np.empty(height, dtype=np.int64), np.empty(height, dtype=np.int64)
    # x + y + z = 2 s for lattice points with s = i + j + k, and |x + y + z| <= sqrt(6) from the plane's part
    s_first = math.ceil(0.5 * (z - 2.5))
    s_last = math.floor(0.5 * (x_max + y_max + z + 2.5))
    for s in range(s_first, s_last + 1):
        shift = s / 3.0
        for k in range(math.ceil(z - reach - shift), math.floor(z + reach - shift) + 1):
            dz = z - (k + shift)
            r2 = 2.0 - dz * dz
            if r2 <= 0.0:
                continue
            r = math.sqrt(r2)
            # the disc meets the field: -r <= x <= x_max + r with x = i + shift, and so for y = (s - k - i) + shift
            i_first = max(math.ceil(-r - shift), math.ceil(s - k + shift - y_max - r))
            i_last = min(math.floor(x_max + r - shift), math.floor(s - k + shift + r))
            for i in range(i_first, i_last + 1):
                j = s - k - i
                x, y = i + shift, j + shift
                index = _gradient_index(perm, i, j, k)
                gx = np.float32(scaled[index, 0])
                gy, hz = scaled[index, 1], scaled[index, 2] * dz
                top = max(0, math.ceil((y - r) * frequency))
                bottom = min(height - 1, math.floor((y + r) * frequency))
                left = max(0, math.ceil((x - r) * frequency))
                right = min(width - 1, math.floor((x + r) * frequency))
                for n in range(bottom + 1 - top):
                    dy = (top + n) * inv - y
                    cs[n], hs[n] = r2 - dy * dy, gy * dy + hz
                if window <= 8.0:
                    dx = np.float32(left * inv - x)
                    for n in range(bottom + 1 - top):
                        _add_8(flat, (top + n) * stride + left, cs[n], dx, dx, step, gx, hs[n])
                elif window <= _SMALL_WINDOW:
                    for start in range(left, right + 1, _LANES):
                        dx, dx_half = np.float32(start * inv - x), np.float32((start + 8) * inv - x)
                        for n in range(bottom + 1 - top):
                            _add_16(flat, (top + n) * stride + start, cs[n], dx, dx_half, step, gx, hs[n])
                else:
                    for n in range(bottom + 1 - top):
                        dy = (top + n) * inv - y
                        half = math.sqrt(max(r2 - dy * dy, 0.0))
                        lefts[n] = max(0, math.ceil((x - half) * frequency))
                        rights[n] = min(width - 1, math.floor((x + half) * frequency))
                    for n in range(bottom + 1 - top):
                        for start in range(lefts[n], rights[n] + 1, _LANES):
                            dx, dx_half = np.float32(start * inv - x), np.float32((start + 8) * inv - x)
                            _add_16(flat, (top + n) * stride + start, cs[n], dx, dx_half, step, gx, hs[n])


_FILL = "void(int64[::1], float32[:, :, ::1], i8, float64[:, ::1], i8, f8, f8, f8, int32[:, ::1], float32[:, ::1])"


@njit(_FILL, **_OPTIONS)
def _fill_fields(seeds, fields, stride, gradients, octaves, persistence, frequency, z, where, weights):
    height, width = fields.shape[1:]
    perm = np.empty(256, dtype=np.int64)
    flat = np.empty(height * stride, dtype=np.float32)
    for b in range(seeds.size):
        _permute(seeds[b], perm)
        flat[:] = 0.0
        f, amplitude = frequency, 1.0
        for _ in range(octaves):
            _add_octave(flat, height, width, stride, perm, gradients, f, z / f, amplitude)
            f /= 2.0
            amplitude *= persistence
        for n in range(where.shape[0]):
            g = _gradient_index(perm, where[n, 1], where[n, 2], where[n, 3])
            value = flat[where[n, 0]]
            for axis in range(3):
                value += np.float32(weights[n, axis] * gradients[g, axis])
            flat[where[n, 0]] = value
        fields[b] = flat.reshape(height, stride)[:, :width]


def simplex_fields(
    seeds: np.ndarray,
    shape: tuple[int, int],
    *,
    octaves: int = 6,
    persistence: float = 0.8,
    frequency: float = 64.0,
    z: float = 0.0,
    threads: int = 1,
) -> np.ndarray:
    """One fractal noise field for each seed, float32 [B, H, W], summed over octaves and not normalised.

    seeds : int64 [B], any value; equal seeds give equal fields
    shape : (H, W)
    octaves, persistence : octave o (from 0) has amplitude persistence**o and wavelength frequency / 2**o
    frequency : wavelength of the first octave, in pixels; that of the last must be at least 1/4 pixel
    z : the plane's third coordinate, in pixels
    threads : that share the seeds; the caller waits for them

    The first coordinate, x, is the column and y is the row: field[b, row, column] is the sum over octaves of
    a * noise3(column / f, row / f, z / f), as in AnoDDPM (Wyatt et al. 2022), to float32 accuracy. Values lie within
    about plus or minus the sum of the amplitudes. The bits depend on the arguments alone, not on batch or thread.
    A geometry (all arguments but the seeds) not among the last 1024 costs about 1 ms once, for 128 x 128 pixels.
    Raises ValueError for seeds of another dtype or rank and for values out of these ranges.
    """
    seeds = np.asarray(seeds)
    height, width = (int(n) for n in shape)
    if seeds.ndim != 1 or not np.can_cast(seeds.dtype, np.int64):
        raise ValueError(f"seeds must be int64 [B], got {seeds.dtype} {list(seeds.shape)}")
    if height < 1 or width < 1 or octaves < 1:
        raise ValueError(f"shape (H, W) and octaves must be at least 1, got {tuple(shape)} and {octaves}")
    if not (math.isfinite(frequency) and math.isfinite(persistence) and math.isfinite(z)):
        raise ValueError(
            f"frequency, persistence and z must be finite, got {frequency}, {persistence} and {z}"
        )
    if (
        not frequency / 2.0 ** (octaves - 1) >= 0.25
    ):  # the work grows with the inverse square of the wavelength
        raise ValueError(
            f"the last of {octaves} octaves from {frequency} is shorter than 1/4 pixel: use fewer octaves"
        )
    seeds = np.ascontiguousarray(seeds, dtype=np.int64)
    persistence, frequency, z = float(persistence), float(frequency), float(z)
    stride = width + _LANES  # the last block of a row runs over its end
    where, weights = omissions(height, width, stride, octaves, persistence, frequency, z)
    fields = np.empty((seeds.size, height, width), dtype=np.float32)

    def fill(share: slice) -> None:
        _fill_fields(
            seeds[share],
            fields[share],
            stride,
            _GRADIENTS,
            octaves,
            persistence,
            frequency,
            z,
            where,
            weights,
        )

    in_shares(fill, seeds.size, threads)
    return fields
