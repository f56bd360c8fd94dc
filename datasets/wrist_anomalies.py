"""What is put into a synthetic wrist, each with the exact box of the pixels that it changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.wrist_anatomy import (
    SIZE,
    LongBone,
    Wrist,
    axis_of,
    bone_attenuation,
    coordinates,
    half_width,
    outline,
    soft_tissue,
    still_parts,
)

__all__ = ["KINDS", "VISIBLE", "Found", "compose"]

Floats = NDArray[np.float64]
Found = tuple[str, int, int, int, int]
"""(kind, top, left, bottom, right): rows and columns half open."""

VISIBLE = 0.03  # of attenuation: the least change that counts as part of an anomaly; cortices have about 0.5


def compose(wrist: Wrist, kinds: tuple[str, ...], rng: np.random.Generator) -> tuple[Floats, list[Found]]:
    """(attenuation [SIZE, SIZE], boxes): the healthy wrist with these anomalies put in, one after the other.

    A box holds every pixel that its anomaly changes by more than ``VISIBLE`` and touches one on each side.
    """
    row, col = coordinates(wrist)
    left, right = outline(wrist, row)
    scene = {
        "soft": soft_tissue(wrist, row, col, left, right),
        "radius": bone_attenuation(wrist.radius, row, col, wrist.texture),
        "ulna": bone_attenuation(wrist.ulna, row, col, wrist.texture),
        "rest": still_parts(wrist, row, col),
    }
    found = []
    for kind in sorted(kinds, key=list(KINDS).index):
        before = sum(scene.values())
        scene = KINDS[kind](wrist, scene, row, col, rng)
        found.append((kind, *_bounds(np.abs(sum(scene.values()) - before) > VISIBLE)))
    return np.asarray(sum(scene.values())), found


def _bounds(changed: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, cols = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    return int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1


Scene = dict[str, Floats]


def _bone(wrist: Wrist, rng: np.random.Generator, radius: float = 0.7) -> tuple[str, LongBone]:
    """Which forearm bone: the radius with this chance."""
    name = "radius" if rng.random() < radius else "ulna"
    return name, getattr(wrist, name)


def _swelling(wrist: Wrist, scene: Scene, row: Floats, col: Floats, rng: np.random.Generator) -> Scene:
    """Soft tissue that bulges on one side and is denser there."""
    left, right = outline(wrist, row)
    at, reach, side = rng.uniform(45, 82), rng.uniform(8, 13), 1 if rng.random() < 0.5 else -1
    bump = np.exp(-(((row - at) / reach) ** 2))
    bulge = rng.uniform(4.5, 8.0) * bump
    left, right = (left - bulge, right) if side < 0 else (left, right + bulge)
    soft = soft_tissue(wrist, row, col, left, right)
    edge = left if side < 0 else right
    oedema = rng.uniform(0.05, 0.09) * bump * np.exp(-(((col - edge + side * 5) / 6) ** 2))
    return scene | {"soft": soft + oedema * (soft > 0)}


def _fracture(wrist: Wrist, scene: Scene, row: Floats, col: Floats, rng: np.random.Generator) -> Scene:
    """A dark jagged line through one bone; what lies beyond it is shifted, less the farther away."""
    name, bone = _bone(wrist, rng)
    off = col - axis_of(bone, row)
    at = bone.row + rng.uniform(9, 34)
    jagged = np.interp(off.ravel(), np.linspace(-14, 14, 13), rng.normal(0, 0.55, 13)).reshape(off.shape)
    line = at + rng.normal(0, 0.22) * off + jagged
    beyond = np.clip(line - row + 0.5, 0, 1)
    shift = rng.choice([-1, 1]) * rng.uniform(0.9, 2.6) * beyond * np.exp(-np.maximum(line - row, 0) / 6.0)
    moved = bone_attenuation(bone, row, col - shift, wrist.texture)
    lucent = rng.uniform(0.4, 0.75) * np.exp(-(((row - line) / rng.uniform(0.7, 1.1)) ** 2))
    return scene | {name: moved * (1 - lucent)}


def _periosteal(wrist: Wrist, scene: Scene, row: Floats, col: Floats, rng: np.random.Generator) -> Scene:
    """A thin layer of new bone that stands a little off the cortex of a shaft."""
    name, bone = _bone(wrist, rng, 0.6)
    length, at = rng.uniform(14, 26), bone.row + rng.uniform(22, 44)
    off, half = col - axis_of(bone, row), half_width(bone, row)
    along = np.clip((length / 2 - np.abs(row - at)) / 2.0 + 0.5, 0, 1)
    lift = rng.uniform(1.5, 2.3) * np.sqrt(np.clip(1 - ((row - at) / (length / 2 + 1)) ** 2, 0, 1))
    sides = rng.choice(["both", "left", "right"], p=[0.4, 0.3, 0.3])
    layer = np.zeros_like(row)
    for sign in (-1, 1):
        if sides in ("both", "left" if sign < 0 else "right"):
            away = sign * off - half
            layer += rng.uniform(0.16, 0.28) * np.exp(-(((away - lift) / 0.75) ** 2)) * along
            layer += 0.05 * along * ((away > 0) & (away < lift))
    return scene | {name: scene[name] + layer}


def _metal(wrist: Wrist, scene: Scene, row: Floats, col: Floats, rng: np.random.Generator) -> Scene:
    """A plate with screws, seen from the front or from the side, or two crossed wires."""
    _, bone = _bone(wrist, rng)
    off = col - axis_of(bone, row)
    form = rng.choice(["front", "side", "wires"], p=[0.4, 0.3, 0.3])
    if form == "wires":
        metal = np.zeros_like(row)
        for sign in (-1, 1):
            start = (bone.row - rng.uniform(2, 6), sign * bone.end * rng.uniform(0.7, 1.0))
            end = (bone.row + rng.uniform(26, 38), -sign * bone.shaft * rng.uniform(0.4, 1.0))
            metal = np.maximum(metal, 0.9 * _stroke(row, off, start, end, rng.uniform(0.65, 0.9)))
        return scene | {"metal": scene.get("metal", 0.0) + metal}
    first, count, pitch = bone.row + rng.uniform(6, 14), int(rng.integers(4, 7)), rng.uniform(6.2, 7.5)
    last = first + (count - 1) * pitch
    if form == "front":
        place = rng.uniform(-1.5, 1.5)
        metal = 0.75 * _stroke(row, off, (first, place), (last, place), rng.uniform(2.3, 2.9))
        for k in range(count):
            head = (first + k * pitch, place)
            metal = metal + 0.55 * _stroke(row, off, head, head, 1.5)
    else:
        side = 1 if rng.random() < 0.5 else -1
        place = side * (bone.shaft + 1.1)
        metal = 1.0 * _stroke(row, off, (first, place), (last, place), 1.15)
        for k in range(count):
            tip = -side * bone.shaft * rng.uniform(0.7, 1.1)
            at = first + k * pitch
            metal = np.maximum(metal, 0.8 * _stroke(row, off, (at, place), (at, tip), 0.75))
    return scene | {"metal": scene.get("metal", 0.0) + metal}


def _stroke(row: Floats, col: Floats, a: tuple[float, float], b: tuple[float, float], half: float) -> Floats:
    """1 within ``half`` pixels of the straight line from a to b, each (row, column); the edge is a pixel wide."""
    along = np.array([b[0] - a[0], b[1] - a[1]], dtype=np.float64)
    length = float(along @ along)
    share = np.clip(((row - a[0]) * along[0] + (col - a[1]) * along[1]) / length, 0, 1) if length else 0.0
    away = np.hypot(row - a[0] - share * along[0], col - a[1] - share * along[1])
    return np.asarray(np.clip(half + 0.5 - away, 0, 1))


def _foreign_body(wrist: Wrist, scene: Scene, row: Floats, col: Floats, rng: np.random.Generator) -> Scene:
    """A splinter in the soft tissue beside the bones."""
    at = rng.uniform(66, 116)
    side = 1 if rng.random() < 0.5 else -1
    bone = wrist.ulna if side > 0 else wrist.radius
    rows = np.array([at])
    skin = outline(wrist, rows)[0 if side < 0 else 1][0]
    inner = axis_of(bone, rows)[0] + side * (half_width(bone, rows)[0] + 2.0)
    place = inner + rng.uniform(0.3, 0.8) * (skin - inner)
    angle, length = rng.uniform(0, np.pi), rng.uniform(2.0, 5.5)
    tip = (at + length * np.sin(angle), place + 0.5 * length * np.cos(angle))
    body = rng.uniform(0.4, 0.9) * _stroke(row, col, (at, place), tip, rng.uniform(0.6, 1.0))
    return scene | {"body": scene.get("body", 0.0) + body}


Put = Callable[[Wrist, Scene, Floats, Floats, np.random.Generator], Scene]

# In the order in which they are put in: what is grown or moved first, metal and splinters on top.
KINDS: dict[str, Put] = {
    "softtissue": _swelling,
    "fracture": _fracture,
    "periostealreaction": _periosteal,
    "metal": _metal,
    "foreignbody": _foreign_body,
}
assert SIZE == 128  # places above are in pixels of that size
