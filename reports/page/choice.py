"""Which cases are shown, and their slices and maps as small images in data addresses."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from uadbench.reports.store import Cell, Run, RunError, read_arrays, read_input

__all__ = [
    "MAX_CASES",
    "MAX_IMAGES",
    "RULE",
    "Chosen",
    "anomaly_image",
    "choose",
    "colour_range",
    "grey_image",
]
__all__ += ["case_inputs", "outline_image", "size_group"]

MAX_CASES = 24
MAX_IMAGES = 700  # images a page; at about 4 kB each they stay below some 4 MB
GROUPS = ("small", "medium", "large", "tiny", "healthy")
RULE = (
    "lesion cases are taken evenly from best to worst mean Dice over the methods shown, the same number from each "
    "lesion size; a quarter of the places goes to healthy cases, evenly from the highest to the lowest mean score"
)
_FORMAT = "WEBP" if features.check("webp") else "PNG"


@dataclass(frozen=True)
class Chosen:
    """A case to show: group (lesion size or 'healthy'), its rank from 1 among ``of`` cases of the group."""

    case_id: str
    group: str
    rank: int
    of: int
    lesion_px: int


def size_group(lesion_px: int) -> str:
    """The papers' lesion size group at 128 x 128; 'tiny' (3 px or fewer) is not scored, 'healthy' has no lesion."""
    if lesion_px <= 0:
        return "healthy"
    if lesion_px <= 3:
        return "tiny"
    return "small" if lesion_px <= 71 else "medium" if lesion_px <= 570 else "large"


def choose(cells: Sequence[Cell], limit: int = MAX_CASES) -> list[Chosen]:
    """At most ``limit`` test cases by RULE, in the order small, medium, large, healthy, best first.

    cells : the cells shown; the more of them, the fewer cases (MAX_IMAGES)
    """
    limit = max(1, min(limit, MAX_IMAGES // (2 + 2 * max(1, len(cells)))))
    methods = [cell for cell in cells if cell.info.get("kind") != "floor"] or list(cells)
    values: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    for cell in methods:
        scored = (cell.metrics or {}).get("per_case") or {}
        for record in cell.cases:
            if record.get("split") != "test" or record.get("status") != "ok":
                continue
            case_id = str(record["case_id"])
            sizes[case_id] = int(record.get("lesion_px") or 0)
            entry = scored.get(case_id) or {}
            value = entry.get("dice" if record.get("lesion") else "score")
            values.setdefault(case_id, []).extend([] if value is None else [float(value)])
    ranked: dict[str, list[str]] = {group: [] for group in GROUPS}
    for case_id in sorted(sizes):
        ranked[size_group(sizes[case_id])].append(case_id)
    for group in ranked.values():
        group.sort(key=lambda case_id: (-float(np.mean(values[case_id] or [-1.0])), case_id))
    ranked["tiny"] = []
    quota = _quotas({group: len(ids) for group, ids in ranked.items()}, limit)
    return [
        Chosen(ids[place], group, place + 1, len(ids), sizes[ids[place]])
        for group, ids in ranked.items()
        for place in _spread(len(ids), quota[group])
    ]


def _quotas(counts: dict[str, int], limit: int) -> dict[str, int]:
    """Places a group: a quarter to the healthy, the rest shared by the sizes; what a group cannot fill goes on."""
    quota = dict.fromkeys(counts, 0)
    order = ["small", "medium", "large", "healthy"]
    free = limit
    while free and any(quota[group] < counts[group] for group in order):
        for group in order:
            if free and quota[group] < counts[group]:
                quota[group] += 1
                free -= 1
    return quota


def _spread(count: int, places: int) -> list[int]:
    """``places`` positions in 0 .. count - 1, first and last included, the middle one when there is a single place."""
    if places >= count:
        return list(range(count))
    if places == 1:
        return [(count - 1) // 2]
    return sorted({round(position) for position in np.linspace(0, count - 1, places).tolist()})


def colour_range(cell: Cell, cases: Sequence[Chosen]) -> float:
    """Top of a cell's colour scale: the 99.5th percentile of its maps over the chosen cases, 1 if all are 0."""
    maps = []
    for case in cases:
        try:
            maps.append(read_arrays(cell.path, case.case_id)[0].ravel())
        except RunError:
            continue  # the case failed in this method: the page says so in the picture's place
    top = float(np.percentile(np.concatenate(maps), 99.5)) if maps else 0.0
    return top if top > 0 else 1.0


def grey_image(image: NDArray[Any]) -> str:
    """[H, W] in [0, 1] as a data address."""
    grey = _bytes(image)
    return _encode(np.repeat(grey[..., None], 3, axis=2))


def outline_image(image: NDArray[Any], mask: NDArray[np.bool_]) -> str:
    """The slice with the lesion's outline: image [H, W] in [0, 1], mask bool [H, W]; drawn at twice the size."""
    double = np.kron(_bytes(image), np.ones((2, 2), np.uint8))
    inside = np.kron(mask, np.ones((2, 2), bool))
    padded = np.pad(inside, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rgb = np.repeat(double[..., None], 3, axis=2)
    rgb[inside & ~core] = (255, 196, 0)
    return _encode(rgb)


def anomaly_image(anomaly: NDArray[Any], top: float) -> str:
    """[H, W] >= 0 in the inferno colours from 0 to ``top``."""
    coloured = mpl.colormaps["inferno"](_bytes(anomaly / top))[..., :3]
    return _encode(np.rint(coloured * 255).astype(np.uint8))


def _bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    return np.rint(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)


def _encode(rgb: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    image = Image.fromarray(rgb)
    if _FORMAT == "WEBP":
        image.save(buffer, "WEBP", quality=82, method=4)
    else:
        image.quantize(64).save(buffer, "PNG", optimize=True)
    return f"data:image/{_FORMAT.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def case_inputs(runs: Sequence[Run], case: Chosen) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """(image, mask) of a chosen case from the first run that holds them, else None."""
    for run in runs:
        try:
            return read_input(run.path, case.case_id)
        except RunError:
            continue
    return None
