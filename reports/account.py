"""How a run was measured, in words, from its manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from uadbench.reports.store import Run

__all__ = ["MEASURES", "account", "environment"]

MEASURES: tuple[tuple[str, str], ...] = (
    (
        "Max Dice",
        "One Dice over all pixels of all test images of the group pooled together, at the best of the thresholds "
        "0, 0.01, .. 1 (the papers' way; it knows the truth and so is an upper bound).",
    ),
    (
        "Small, medium, large",
        "The same within lesion sizes: up to 71, up to 570, up to 10 000 lesion pixels at 128 × 128; lesions of 3 "
        "pixels or fewer are left out.",
    ),
    ("AUPRC", "Average precision over the pooled pixels."),
    (
        "Dice at 5 % FPR",
        "Pooled Dice at the threshold that 5 % of the pixels of healthy validation slices exceed: no truth needed.",
    ),
    ("AUROC", "Of whole images, healthy against lesion, by the image's score."),
    ("Intervals", "95 %, bootstrap over subjects."),
    ("NFE", "Network calls a case, counted from outside the method."),
    (
        "ms/image",
        "Milliseconds an image by the host's clock, a case's share of its batch; first call and warm-up kept apart. "
        "p90 only from 29 samples, p95 from 59, p99 from 299.",
    ),
    (
        "Speed-up",
        "Median latency of the same method on torch fp32 in the same run, divided by the cell's. Shown only where "
        "parity passed.",
    ),
    (
        "Parity",
        "Network, trajectory and scores held against torch fp32 on the same cases and the same noise.",
    ),
    (
        "Floors",
        "Trivial maps with no diffusion model. A method below the best of them is not worth its cost.",
    ),
)
"""What each figure means, for every report."""


def account(run: Run) -> list[tuple[str, str]]:
    """(name, text) lines: command, data, seed, weights, versions, machine; nothing for what is absent."""
    manifest = run.manifest
    dataset = manifest.get("dataset") or {}
    git = manifest.get("git") or {}
    perceptual = manifest.get("perceptual") or {}
    lines = [
        ("Command", manifest.get("command") or manifest.get("command_line")),
        ("Created", manifest.get("created")),
        ("Finished", manifest.get("finished") or "not finished: figures are of what is there"),
        ("Cases", _cases(dataset)),
        ("Data fingerprint", dataset.get("fingerprint")),
        ("Pre-processing", _flat(dataset.get("preprocessing"))),
        ("Seed", manifest.get("seed")),
        ("Perceptual net", _hashed(perceptual.get("name"), perceptual.get("sha256"))),
        *(
            (f"Checkpoint {name}", _hashed(_card(entry), (entry or {}).get("sha256")))
            for name, entry in sorted((manifest.get("checkpoints") or {}).items())
        ),
        ("uadbench", _version(manifest.get("version") or manifest.get("uadbench"), git)),
        ("Configuration hash", manifest.get("config_hash")),
        ("Machine", _machine(manifest.get("environment") or {})),
        ("Sessions", _sessions(manifest.get("sessions") or [])),
    ]
    return [(name, str(text)) for name, text in lines if text not in (None, "")]


def environment(run: Run) -> list[tuple[str, str]]:
    """Every entry of the manifest's environment as (dotted name, text)."""
    return list(_leaves(run.manifest.get("environment") or {}))


def _leaves(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, entry in sorted(value.items()):
        if isinstance(entry, dict):
            yield from _leaves(entry, f"{prefix}{name}.")
        elif entry is not None:
            yield f"{prefix}{name}", _flat(entry)


def _flat(value: Any) -> str:
    if value in (None, {}, []):
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _cases(dataset: dict[str, Any]) -> str:
    parts = [
        f"{dataset[key]} {text}"
        for key, text in (
            ("n_test_lesion", "with lesions"),
            ("n_test_healthy", "healthy"),
            ("n_val", "for thresholds"),
        )
        if dataset.get(key) is not None
    ]
    return ", ".join(parts)


def _card(entry: Any) -> str:
    card = (entry or {}).get("card") or {}
    known = [f"{name} {card[name]}" for name in ("parameters", "steps", "precision") if name in card]
    return ", ".join(known) or "weights"


def _hashed(name: Any, sha256: Any) -> str:
    if not name:
        return ""
    return f"{name} (sha256 {str(sha256)[:16]})" if sha256 else str(name)


def _version(version: Any, git: dict[str, Any]) -> str:
    if not version:
        return ""
    commit = f", commit {str(git['commit'])[:12]}" if git.get("commit") else ""
    return f"{version}{commit}{' with uncommitted changes' if git.get('dirty') else ''}"


def _machine(found: dict[str, Any]) -> str:
    parts = [
        str(found.get("cpu") or ""),
        f"{found['cores']} cores" if found.get("cores") else "",
        f"{found['threads']} threads" if found.get("threads") else "",
        f"{found['memory_mib'] / 1024:.0f} GiB" if isinstance(found.get("memory_mib"), int | float) else "",
        str(found.get("os") or ""),
        f"Python {found['python']}" if found.get("python") else "",
    ]
    return ", ".join(part for part in parts if part)


def _sessions(sessions: list[dict[str, Any]]) -> str:
    """How long each session ran and how much of it was the harness's own."""
    return "; ".join(
        f"{entry['seconds']['total']:.0f} s, {entry['harness_fraction']:.1%} of it outside the methods"
        for entry in sessions
        if isinstance(entry.get("harness_fraction"), int | float) and "total" in (entry.get("seconds") or {})
    )
