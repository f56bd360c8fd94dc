"""Fractal 3-D OpenSimplex noise on a plane (AnoDDPM; Wyatt et al., CVPR Workshops 2022), compiled with Numba.

The noise function with its lattice, gradients, kernel and permutation is OpenSimplex by Kurt Spencer (public domain,
2014), as packaged in ``opensimplex`` by Lex Wolf and others (MIT licence). The evaluation is our own. The published
code walks, pixel by pixel, through a decision tree that names the lattice points that reach the pixel q and adds

    max(0, 2 - |q - p|^2)^4 * <g_p, q - p> / 103,   p = (i, j, k) + (i + j + k) / 3,

for each, g_p being one of 24 gradients picked by the permutation. Two observations make this fast:

* The points it names are all those nearer than sqrt(2), with one exception (below). So the loops can be turned round:
  on a plane of constant z each lattice point reaches a disc of pixels. We run over lattice points and add their discs
  row by row: no decision tree, one look-up of the permutation a lattice point, and SIMD code over columns.
* The exception: inside a tetrahedron of the lattice with barycentric coordinates l1 >= l2 >= l3 >= l4 of q, the
  published code leaves out the point v1 + v3 - v4, though 2 - |q - p|^2 = 2 (l1 + l3 - l4) - 1 - sum(l^2) may reach
  1/6 there. That is some 3 % of the pixels and at most 1e-4 in value. Which pixels does not depend on the seed: they
  are listed once for a geometry and the surplus is taken off.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["simplex_fields"]

# Edge vectors of the rhombicuboctahedron of the published 3-D noise: signs (x, y, z), then the place of the 11.
_SIGNS = [(x, y, z) for z in (1, -1) for y in (1, -1) for x in (-1, 1)]
_GRADIENTS = np.array([np.multiply(s, e) for s in _SIGNS for e in 4 + 7 * np.eye(3)])
_NORM = 103.0  # scales the sum to about [-1, 1]
_LANES = 8  # columns are added in blocks of this many: a constant count that the compiler turns into vectors
_SMALL_WINDOW = 48  # discs no wider than this are added as squares: finding each row's chord would cost more

# cache=True keeps the compiled code in the __pycache__ folder beside this file (or, where that is not writable, in the
# user's Numba cache folder or NUMBA_CACHE_DIR; Numba needs one of them), so only the first process on a machine pays
# for it. nogil lets background threads draw noise in parallel; there is no prange, because Numba's default threading
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


def _block_code(typingctx, flat, start, c, dx, step, gx, h):
    """Code of _add_block(flat, start, c, dx, step, gx, h), all but start float32:
    flat[start + n] += max(0, c - d^2)^4 * (gx * d + h), d = dx + n * step, for n < _LANES.

    Written as LLVM vectors, because Numba compiles loops this short to scalar code.
    """
    signature = types.void(flat, types.int64, *[types.float32] * 5)

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.FloatType(), _LANES)
        zeros = ir.Constant(vector, [0.0] * _LANES)
        picks = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)

        def spread(scalar):
            first = builder.insert_element(zeros, scalar, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(first, zeros, picks)

        array = context.make_array(signature.args[0])(context, builder, args[0])
        pointer = builder.bitcast(builder.gep(array.data, [args[1]]), vector.as_pointer())
        c, dx, step, gx, h = (spread(value) for value in args[2:])
        lanes = ir.Constant(vector, [float(n) for n in range(_LANES)])
        d = builder.fadd(dx, builder.fmul(lanes, step))
        a = builder.fsub(c, builder.fmul(d, d))
        a = builder.select(builder.fcmp_ordered(">", a, zeros), a, zeros)
        a = builder.fmul(a, a)
        value = builder.fmul(builder.fmul(a, a), builder.fadd(builder.fmul(gx, d), h))
        builder.store(builder.fadd(builder.load(pointer, align=4), value), pointer, align=4)
        return context.get_dummy_value()

    return signature, codegen


_add_block: Any = intrinsic(_block_code)


@njit("void(float32[::1], i8, i8, i8, int64[::1], float64[:, ::1], f8, f8, f8)", **_OPTIONS)
def _add_octave(flat, height, width, stride, perm, gradients, frequency, z, amplitude):
    """Add amplitude * (sum over all lattice points) to ``flat``, [height, stride] with stride >= width + _LANES."""
    inv = 1.0 / frequency
    step = np.float32(inv)
    scale = amplitude / _NORM
    x_max, y_max = (width - 1) * inv, (height - 1) * inv
    reach = math.sqrt(2.0)
    small = 2.0 * reach * frequency + 1.0 <= _SMALL_WINDOW
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
                gx = np.float32(gradients[index, 0] * scale)
                gy, hz = gradients[index, 1] * scale, gradients[index, 2] * scale * dz
                top = max(0, math.ceil((y - r) * frequency))
                bottom = min(height - 1, math.floor((y + r) * frequency))
                left = max(0, math.ceil((x - r) * frequency))
                right = min(width - 1, math.floor((x + r) * frequency))
                for row in range(top, bottom + 1):
                    dy = row * inv - y
                    c = r2 - dy * dy
                    if not small:
                        half = math.sqrt(max(c, 0.0))
                        left = max(0, math.ceil((x - half) * frequency))
                        right = min(width - 1, math.floor((x + half) * frequency))
                    h = np.float32(gy * dy + hz)
                    for start in range(left, right + 1, _LANES):
                        dx = np.float32(start * inv - x)
                        _add_block(flat, row * stride + start, np.float32(c), dx, step, gx, h)


@njit("i8(i8, i8, i8, f8, f8, f8, int32[:, ::1], float32[:, ::1])", **_OPTIONS)
def _list_omissions(height, width, stride, frequency, z, amplitude, where, weights):
    """List what the published decision tree leaves out, and return how many entries there are.

    where : element of the flat field; i, j, k of p modulo 256. weights : -amplitude * kernel * (q - p) / 103.
    The choice of the two nearest corners repeats the published arithmetic operation for operation, because on a pixel
    grid ties are common and it is rounding that settles them.
    """
    count = 0
    for row in range(height):
        y = row / frequency
        for column in range(width):
            x = column / frequency
            stretch = (x + y + z) * (-1.0 / 6)
            xs, ys, zs = x + stretch, y + stretch, z + stretch
            i, j, k = math.floor(xs), math.floor(ys), math.floor(zs)
            u, v, w = xs - i, ys - j, zs - k
            total = u + v + w
            if 1.0 < total < 2.0:
                continue  # an octahedron: nothing is left out
            # Corner 3 of the tetrahedron is (0, 0, 0) or (1, 1, 1), corners 0..2 are its neighbours along the axes.
            if total <= 1.0:
                sign, base, rest, l0, l1, l2, l3 = 1, 0, 1.0 - total, u, v, w, 1.0 - total
            else:
                sign, base, rest, l0, l1, l2, l3 = -1, 1, total - 3.0, 1.0 - u, 1.0 - v, 1.0 - w, total - 2.0
            high0, low0, high1, low1 = max(l0, l1), min(l0, l1), max(l2, l3), min(l2, l3)
            largest, smallest = max(high0, high1), min(low0, low1)
            third_largest = min(min(high0, high1), max(low0, low1))
            squares = l0 * l0 + l1 * l1 + l2 * l2 + l3 * l3
            if 2.0 * (largest + third_largest - smallest) - 1.0 - squares < -1e-6:
                continue  # most pixels end here; the rest is decided with care
            # The two nearest corners, a and b, are found by the original's comparisons, whose ties depend on rounding.
            a, a_score, b, b_score, w_score = 0, sign * u, 1, sign * v, sign * w
            if a_score >= b_score and w_score > b_score:
                b, b_score = 2, w_score
            elif a_score < b_score and w_score > a_score:
                a, a_score = 2, w_score
            if rest > a_score or rest > b_score:
                a, b = (b if b_score > a_score else a), 3
            corner = (l0, l1, l2, l3)
            first = a if corner[a] >= corner[b] else b
            # of the other two corners, the nearer and the farther
            third, fourth = -1, -1
            for n in range(4):
                if n != a and n != b:
                    if third < 0 or corner[n] > corner[third]:
                        third, fourth = n, third
                    else:
                        fourth = n
            # p = v_first + v_third - v_fourth, as steps along the axes away from corner 3
            pi = i + base + sign * ((first == 0) + (third == 0) - (fourth == 0))
            pj = j + base + sign * ((first == 1) + (third == 1) - (fourth == 1))
            pk = k + base + sign * ((first == 2) + (third == 2) - (fourth == 2))
            squish = (pi + pj + pk) / 3.0
            dx, dy, dz = x - (pi + squish), y - (pj + squish), z - (pk + squish)
            kernel = max(2.0 - dx * dx - dy * dy - dz * dz, 0.0)
            factor = -amplitude / _NORM * kernel**4
            where[count, 0] = row * stride + column
            where[count, 1], where[count, 2], where[count, 3] = pi & 255, pj & 255, pk & 255
            weights[count, 0], weights[count, 1], weights[count, 2] = factor * dx, factor * dy, factor * dz
            count += 1
    return count


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
            for axis in range(3):
                flat[where[n, 0]] += np.float32(weights[n, axis] * gradients[g, axis])
        fields[b] = flat.reshape(height, stride)[:, :width]


@lru_cache(maxsize=1024)  # a chain visits one plane a level
def _omissions(
    height: int, width: int, octaves: int, persistence: float, frequency: float, z: float
) -> tuple[np.ndarray, np.ndarray]:
    """What is to be taken off all fields of one geometry: int32 [N, 4] and float32 [N, 3], all octaves together."""
    where = np.empty((height * width, 4), dtype=np.int32)
    weights = np.empty((height * width, 3), dtype=np.float32)
    parts = []
    f, amplitude = frequency, 1.0
    for _ in range(octaves):
        n = _list_omissions(height, width, width + _LANES, f, z / f, amplitude, where, weights)
        parts.append((where[:n].copy(), weights[:n].copy()))
        f /= 2.0
        amplitude *= persistence
    return np.concatenate([e for e, _ in parts]), np.concatenate([w for _, w in parts])


def simplex_fields(
    seeds: np.ndarray,
    shape: tuple[int, int],
    *,
    octaves: int = 6,
    persistence: float = 0.8,
    frequency: float = 64.0,
    z: float = 0.0,
) -> np.ndarray:
    """One fractal noise field for each seed, float32 [B, H, W], summed over octaves and not normalised.

    seeds : int64 [B], any value; equal seeds give equal fields
    shape : (H, W)
    octaves, persistence : octave o (from 0) has amplitude persistence**o and wavelength frequency / 2**o
    frequency : wavelength of the first octave, in pixels; that of the last must be at least 1/4 pixel
    z : the plane's third coordinate, in pixels

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
    where, weights = _omissions(height, width, octaves, persistence, frequency, z)
    stride = width + _LANES  # the last block of a row runs over its end
    fields = np.empty((seeds.size, height, width), dtype=np.float32)
    _fill_fields(seeds, fields, stride, _GRADIENTS, octaves, persistence, frequency, z, where, weights)
    return fields
