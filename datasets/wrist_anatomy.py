"""A healthy synthetic radiograph of a child's wrist: what the beam passes, as thickness times attenuation.

Rows run from the hand (0) to the forearm (127). Bones are shells around a spongy core, so cortices come out bright at
their rims; carpal bones and the caps beyond the growth plates grow with age. Nothing is copied from a patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.datasets.deform import smooth_field

__all__ = [
    "SIZE",
    "LongBone",
    "Wrist",
    "axis_of",
    "bone_attenuation",
    "coordinates",
    "draw_wrist",
    "half_width",
    "outline",
    "radiograph",
    "soft_tissue",
    "still_parts",
]

SIZE = 128
Floats = NDArray[np.float64]

COMPACT, TISSUE = 0.060, 0.0105  # attenuation a pixel of thickness
# Of the seven: name's place from the wrist's axis and row (columns, rows), half sizes, turn, age at which it shows.
CARPALS = (
    (0.5, 38.0, 5.0, 6.6, 0.1, -0.5),  # capitate
    (8.6, 38.5, 4.7, 5.6, -0.3, -0.5),  # hamate
    (11.0, 46.5, 4.2, 4.0, 0.5, 0.05),  # triquetrum
    (2.2, 48.5, 4.8, 4.3, 0.1, 0.12),  # lunate
    (-7.2, 46.5, 4.4, 6.2, 0.7, 0.2),  # scaphoid
    (-13.5, 39.5, 4.6, 4.2, 0.3, 0.2),  # trapezium
    (-8.2, 37.0, 3.8, 4.0, 0.1, 0.24),  # trapezoid
)
# Metacarpals: column and row of the base, lean (columns a row), half width of the shaft and of the base.
METACARPALS = (
    (-19.0, 35.0, 0.50, 2.9, 4.2),
    (-9.8, 31.5, 0.17, 3.0, 4.9),
    (-1.6, 30.5, 0.03, 3.0, 4.7),
    (6.3, 31.5, -0.11, 2.7, 4.2),
    (12.8, 33.5, -0.25, 2.6, 4.1),
)


@dataclass(frozen=True)
class LongBone:
    """A tube with one end in the picture; all in pixels.

    col, row : of the axis where the end is; lean, bow : columns a row, and a row squared, away from there
    sign : +1 where the shaft runs down from the end, -1 where it runs up
    shaft, end : half widths; flare : how far the end's width reaches; cortex : its thickness in the shaft
    spongy : attenuation of the core
    """

    col: float
    row: float
    lean: float
    bow: float
    sign: int
    shaft: float
    end: float
    flare: float
    cortex: float
    spongy: float


@dataclass(frozen=True)
class Cap:
    """A rounded bone: its centre, half sizes, turn in radians and the attenuation of its core."""

    col: float
    row: float
    half_col: float
    half_row: float
    turn: float
    spongy: float


@dataclass(frozen=True)
class Wrist:
    """Everything that one wrist is drawn from.

    radius, ulna : the forearm; caps : of their ends, and the carpals
    edges : [2, SIZE] columns of the skin, left and right; thickness : of the soft tissue, relative
    texture : [SIZE, SIZE] of spongy bone, about 1
    """

    radius: LongBone
    ulna: LongBone
    metacarpals: tuple[LongBone, ...]
    caps: tuple[Cap, ...]
    edges: Floats
    thickness: float
    texture: Floats
    turn: float
    mirrored: bool


def draw_wrist(rng: np.random.Generator) -> Wrist:
    """A wrist of some age (about 4 to 16 years), side, build and position."""
    age, build = rng.uniform(0, 1), rng.normal(1.0, 0.05)
    centre, wrist = 63.5 + rng.normal(0, 1.5), rng.normal(0, 1.6)
    gap = 1.3 + 1.5 * (1 - age) + rng.uniform(0, 0.3)
    spongy = 0.017 * np.exp(rng.normal(0, 0.1))
    end_r, end_u = build * rng.uniform(10.4, 11.6) * (0.86 + 0.14 * age), build * rng.uniform(5.6, 6.6)
    radius = LongBone(
        centre - 7.5 * build, 60.5 + wrist, rng.normal(0.02, 0.015), rng.normal(0, 0.0004), 1,
        build * rng.uniform(5.4, 6.3), end_r, rng.uniform(15, 20), rng.uniform(1.7, 2.3), spongy,
    )  # fmt: skip
    ulna = LongBone(
        centre + 12.0 * build, 61.0 + wrist + rng.normal(0, 1.2), rng.normal(-0.02, 0.015), rng.normal(0, 0.0004), 1,
        build * rng.uniform(4.0, 4.7), end_u, rng.uniform(8, 12), rng.uniform(1.4, 1.9), spongy,
    )  # fmt: skip
    caps = [
        Cap(
            radius.col - 0.5,
            radius.row - gap - 3.3,
            end_r * (0.62 + 0.36 * age),
            2.2 + 1.6 * age,
            0.06,
            spongy,
        )
    ]
    if age > 0.2:
        caps.append(
            Cap(
                ulna.col + 0.3, ulna.row - gap - 2.2, end_u * (0.5 + 0.42 * age), 1.2 + 1.5 * age, 0.0, spongy
            )
        )
    for col, row, half_col, half_row, turn, begins in CARPALS:
        grown = float(np.clip((age - begins) / 0.5, 0, 1))
        if grown > 0.05:
            size = build * (0.45 + 0.58 * grown) * np.exp(rng.normal(0, 0.04))
            place = rng.normal(0, 0.5, 2)
            caps.append(
                Cap(centre + build * col + place[0], row + wrist + place[1], half_col * size, half_row * size,
                 turn + rng.normal(0, 0.1), spongy * 1.15)
            )  # fmt: skip
    metacarpals = tuple(
        LongBone(
            centre + build * col + rng.normal(0, 0.4), row + wrist + rng.normal(0, 0.5), lean + rng.normal(0, 0.02),
            0.0, -1, build * shaft, build * base, 5.0, 1.15, spongy,
        )
        for col, row, lean, shaft, base in METACARPALS
    )  # fmt: skip
    return Wrist(
        radius, ulna, metacarpals, tuple(caps), _skin(rng, centre, build), float(np.exp(rng.normal(0, 0.1))),
        1 + 0.10 * smooth_field(rng, SIZE, 44) + 0.06 * smooth_field(rng, SIZE, 20),
        rng.normal(0, 0.05), bool(rng.random() < 0.5),
    )  # fmt: skip


def _skin(rng: np.random.Generator, centre: float, build: float) -> Floats:
    """Left and right columns of the skin for every row: wide at the hand, narrow at the wrist, wider again."""
    rows = np.array([0.0, 18.0, 34.0, 48.0, 62.0, 80.0, 104.0, 127.0])
    left = np.array([43.0, 40.0, 33.5, 26.0, 22.5, 22.0, 23.5, 25.5])  # the thumb's side
    right = np.array([27.5, 26.5, 25.0, 23.0, 22.0, 22.5, 24.0, 26.0])
    plump = build * np.exp(rng.normal(0, 0.05))
    edges = []
    for sign, half in ((-1, left), (+1, right)):
        smooth = ndimage.gaussian_filter1d(np.interp(np.arange(SIZE), rows, half), 6.0, mode="nearest")
        wave = np.interp(np.arange(SIZE), np.linspace(0, SIZE, 9), rng.normal(0, 0.5, 9))
        edges.append(centre + sign * (plump * smooth + ndimage.gaussian_filter1d(wave, 4.0, mode="nearest")))
    return np.stack(edges)


def coordinates(wrist: Wrist) -> tuple[Floats, Floats]:
    """Rows and columns [SIZE, SIZE] of the wrist's own frame under each pixel: turned, mirrored for a right hand."""
    centre = (SIZE - 1) / 2
    row, col = np.meshgrid(np.arange(SIZE) - centre, np.arange(SIZE) - centre, indexing="ij")
    col = -col if wrist.mirrored else col
    cos, sin = np.cos(wrist.turn), np.sin(wrist.turn)
    return cos * row - sin * col + centre, sin * row + cos * col + centre


def axis_of(bone: LongBone, row: Floats) -> Floats:
    """The axis's column at each row."""
    away = row - bone.row
    return bone.col + bone.lean * away + bone.bow * away**2


def half_width(bone: LongBone, row: Floats) -> Floats:
    """Half the outer width at each row; 0 beyond the end, which is rounded."""
    along = bone.sign * (row - bone.row)
    reach = np.maximum(along, 0) / bone.flare
    width = bone.shaft + (bone.end - bone.shaft) * np.exp(-reach * np.sqrt(reach))
    corner = np.clip(1 - along / 2.5, 0, 1)
    return np.where(along < 0, 0.0, width * np.sqrt(1 - 0.5 * corner**2))


def bone_attenuation(bone: LongBone, row: Floats, col: Floats, texture: Floats) -> Floats:
    """What a long bone adds at each pixel: a shell of compact bone, thin at the end, around a spongy core."""
    total = np.zeros_like(row)
    half, off = half_width(bone, row), np.abs(col - axis_of(bone, row))
    inside = np.nonzero(off < half)
    row, half, off, texture = (values[inside] for values in (row, half, off, texture))
    along = bone.sign * (row - bone.row)
    near = np.exp(-np.maximum(along, 0) / bone.flare)  # 1 at the end, 0 in the shaft
    inner = np.maximum(half - bone.cortex * (1 - 0.72 * near), 0)
    flat = np.sqrt(4.0 / np.maximum(half, 4.0))  # wide ends are flatter than round
    whole = 2 * flat * np.sqrt(half**2 - off**2)
    core = 2 * flat * np.sqrt(np.maximum(inner**2 - off**2, 0))
    plate = 0.07 * np.exp(-((along / 0.9) ** 2))  # the dense line at the growth plate
    total[inside] = COMPACT * (whole - core) + bone.spongy * (0.35 + 0.65 * near) * core * texture + plate
    return total


def _cap(cap: Cap, row: Floats, col: Floats, texture: Floats) -> Floats:
    """The same of a rounded bone: an ellipsoid, squarer than one, as carpal bones are."""
    cos, sin = np.cos(cap.turn), np.sin(cap.turn)
    u, v = col - cap.col, row - cap.row
    u, v = cos * u + sin * v, cos * v - sin * u
    small = min(cap.half_col, cap.half_row)
    u, v = np.abs(u / cap.half_col), np.abs(v / cap.half_row)
    reach = u * u * np.sqrt(u) + v * v * np.sqrt(v)
    rim = 1 - 0.9 / small if small > 1.4 else 0.3  # a shell of 0.9 pixels
    whole = np.sqrt(np.clip(1 - reach, 0, None))
    core = np.sqrt(np.clip(1 - reach / rim**2.5, 0, None))
    thick = 1.25 * np.sqrt(4.0 * small)
    return COMPACT * thick * (whole - rim * core) + cap.spongy * thick * rim * core * texture


def still_parts(wrist: Wrist, row: Floats, col: Floats) -> Floats:
    """Attenuation of the bones that no anomaly moves: hand and caps."""
    total = np.zeros_like(row)
    hand = slice(0, 48)  # where metacarpals can be, whatever the turn
    for bone in wrist.metacarpals:
        total[hand] += bone_attenuation(bone, row[hand], col[hand], wrist.texture[hand])
    for cap in wrist.caps:
        near = max(cap.half_col, cap.half_row) + 1
        at = np.nonzero((np.abs(row[:72] - cap.row) < near) & (np.abs(col[:72] - cap.col) < near))
        total[at] += _cap(cap, row[at], col[at], wrist.texture[at])
    return total


def outline(wrist: Wrist, row: Floats) -> tuple[Floats, Floats]:
    """Columns of the skin, left and right, at each row."""
    rows = np.arange(SIZE)
    left, right = (np.interp(row, rows, edge) for edge in wrist.edges)
    return left, right


def soft_tissue(wrist: Wrist, row: Floats, col: Floats, left: Floats, right: Floats) -> Floats:
    """Attenuation of all that is no bone, between two columns of skin; fat beneath the skin is thinner to the beam."""
    middle, half = (left + right) / 2, (right - left) / 2
    across = np.clip(np.abs(col - middle) / half, 0, 1)
    depth = np.minimum(col - left, right - col)  # from the skin
    flesh = 0.82 + 0.18 * np.clip((depth - 2.5) / 2.5, 0, 1)
    return TISSUE * wrist.thickness * 26 * np.sqrt(1 - across * across * np.sqrt(across)) * flesh


def radiograph(attenuation: Floats, rng: np.random.Generator) -> tuple[Floats, int]:
    """(the picture [SIZE, W], its first column): blur, scatter, quantum noise, collimated to a portrait field.

    attenuation : [SIZE, SIZE]; the picture is brighter where more is absorbed
    """
    width = int(rng.integers(84, 105))
    first = (SIZE - width) // 2
    blurred = ndimage.gaussian_filter(attenuation, rng.uniform(0.45, 0.7))
    scatter = 0.02 + 0.012 * rng.normal() * np.linspace(-1, 1, SIZE)[:, None]
    scatter = (
        scatter
        + 0.012 * rng.normal() * np.linspace(-1, 1, SIZE)
        + 0.05 * ndimage.gaussian_filter(attenuation, 9, truncate=2)
    )
    noise = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), 0.45) / 0.69
    dose = np.exp(rng.uniform(np.log(0.006), np.log(0.013)))
    picture = (
        1 - np.exp(-(blurred + scatter) * rng.uniform(1.0, 1.25)) + dose * np.exp(0.45 * blurred) * noise
    )
    return np.clip(picture, 0, None)[:, first : first + width], first
