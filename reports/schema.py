"""The kinds of values in a run's JSON files, as far as tables and pages rely on them; all else is let be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import Meta

from uadbench.reports.atomic import RunError
from uadbench.reports.vocabulary import SCORES, SIZE_NAMES

__all__ = ["check_cell", "check_latency", "check_manifest", "check_metrics", "check_paired", "check_parity"]

Count = Annotated[int, Meta(ge=0, le=2**53)] | None
Number = float | None
Numbers = dict[str, Number] | None
Table = dict[str, Any] | None
Text = str | None


class _Curve(TypedDict, total=False):
    recall: list[float]
    precision: list[float]


class _DiceCurve(TypedDict):
    threshold: list[float]
    dice: list[float]


class _PerCase(TypedDict, total=False):
    dice: Number
    lesion_px: Count
    group: Text
    score: Number
    dice_at_max: Number
    false_px: Count
    boxes: list[str]
    found: list[bool] | None
    false_positives: Count
    precision: Number
    recall: Number
    f1: Number


class _FrocCurve(TypedDict, total=False):
    false_positives: list[float]
    sensitivity: list[float]


class _PerVolume(TypedDict):
    subject: str
    n_slices: int
    spacing_mm: list[float] | None
    lesion_voxels: int
    dice: Number
    dice_healthy_fpr5: Number
    dice_fitted: Number
    auprc: Number
    lesions: int
    lesions_found: int
    components: int
    components_true: int
    lesion_f1: Number
    lesion_recall: Number
    hausdorff95_mm: Number
    surface_distance_mm: Number


class _Volumes(TypedDict):
    n: int
    left_out: dict[str, str]
    notes: list[str]
    per_volume: dict[str, _PerVolume]


class _OfClass(TypedDict):
    n_boxes: int
    n_images: int
    recall: dict[str, Number]
    f1: dict[str, Number]
    f1_papers: dict[str, Number]


class _Failed(TypedDict):
    case_id: str
    reason: Text


_CELL: dict[str, Any] = {
    **dict.fromkeys(("method", "title", "noise", "steps", "backend", "precision"), str),
    **dict.fromkeys(("perceptual", "device", "kind", "dataset", "not_applicable", "post"), Text),
    **dict.fromkeys(
        ("settings", "hyperparameters", "backend_info", "networks", "x0_variance", "operating"), Table
    ),
    **dict.fromkeys(("nfe", "t_start"), Count),
    "seed": Annotated[int, Meta(ge=0, le=2**63 - 1)],
}
_METRICS: dict[str, Any] = {
    **dict.fromkeys(("n_cases", "n_failed", "n_lesion", "n_healthy", "n_excluded"), Count),
    **dict.fromkeys((*SCORES, *(f"dice_{size}" for size in SIZE_NAMES)), Numbers),
    "excluded": dict[str, int] | None,
    "failed": list[_Failed],
    "per_case": dict[str, _PerCase],
    "pr_curve": _Curve | None,
    "truth": Literal["mask", "boxes"],
    "by_class": dict[str, _OfClass],
    "froc_curve": _FrocCurve,
    "dice_curve": _DiceCurve,
    "volumes": _Volumes,
}
_LATENCY: dict[str, Any] = {
    **dict.fromkeys(("latency_ms", "network_ms", "stages_ms"), Numbers),
    **dict.fromkeys(("first_call_ms", "warmup_ms", "peak_memory_mib", "load_max"), Number),
    "n": Count,
    "raw_ms": list[float],
}
_DATASET: dict[str, Any] = {
    **dict.fromkeys(
        ("name", "title", "origin", "modality", "licence", "citation", "fingerprint", "truth"), Text
    ),
    **dict.fromkeys(("n_test", "n_test_all", "n_test_lesion", "n_test_healthy", "n_val"), Count),
    "caveats": list[str] | None,
    "preprocessing": Table,
}
_MANIFEST: dict[str, Any] = {
    **dict.fromkeys(("run_id", "config_hash", "created", "finished", "version", "command"), Text),
    **dict.fromkeys(("config", "dataset", "environment", "git", "backends", "perceptual", "prior"), Table),
    "checkpoints": dict[str, dict[str, Any]] | None,
    "sessions": list[dict[str, Any]] | None,
}
_ENVIRONMENT: dict[str, Any] = {
    **dict.fromkeys(("python", "cpu", "os"), Text),
    **dict.fromkeys(("cores", "threads"), Count),
    "packages": dict[str, str] | None,
    "memory_mib": Number,
}


class _Tested(TypedDict):
    a: str
    b: str
    difference: float
    lo: Number
    hi: Number
    p: Number
    p_holm: Number
    n_cases: Count
    n_subjects: Count


_PAIRED: dict[str, Any] = {
    **dict.fromkeys(("seed", "draws", "n_pairs"), Count),
    "measures": dict[str, list[_Tested]],
}
_VERDICT: dict[str, Any] = {"verdict": Text, "reason": Text}


def check_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """RunError where a value is of another kind than is written there; so do the others."""
    _check(path, manifest, _MANIFEST)
    _check(path, manifest.get("dataset") or {}, _DATASET)
    _check(path, manifest.get("environment") or {}, _ENVIRONMENT)


def check_cell(path: Path, info: dict[str, Any]) -> None:
    """cell.json."""
    _check(path, info, _CELL)


def check_metrics(path: Path, metrics: dict[str, Any] | None) -> None:
    """metrics.json."""
    _check(path, metrics or {}, _METRICS)


def check_latency(path: Path, latency: dict[str, Any] | None) -> None:
    """latency.json."""
    _check(path, latency or {}, _LATENCY)


def check_parity(path: Path, parity: dict[str, Any] | None) -> None:
    """parity.json."""
    for verdict in (parity or {}).values():
        if not isinstance(verdict, dict):
            raise RunError(f"{path}: a verdict is no table; delete it and run `bench parity` again")
        _check(path, verdict, _VERDICT)


def check_paired(path: Path, paired: dict[str, Any] | None) -> None:
    """paired.json."""
    _check(path, paired or {}, _PAIRED)


def _check(path: Path, values: dict[str, Any], kinds: dict[str, Any]) -> None:
    for key, kind in kinds.items():
        try:
            if key in values:
                msgspec.convert(values[key], kind)
        except (ValueError, TypeError) as error:
            raise RunError(
                f"{path}: {key!r} is not what a run writes ({str(error)[:120]!r}); delete the file and run the same "
                "`bench run` command again"
            ) from error
