"""How a run was measured, in words, from its manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from uadbench.reports.places import short_command, short_text
from uadbench.reports.runs import Run
from uadbench.reports.vocabulary import MEASURES, TERMS

__all__ = ["account", "environment", "meanings", "version_text"]


def meanings(frame: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """(titles, meaning) of every measure that is a column of the frame, those of one meaning together, and of terms."""
    found: dict[str, list[str]] = {}
    for name, measure in MEASURES.items():
        if name in frame:
            found.setdefault(measure.about, []).append(measure.title)
    return (*((", ".join(titles), about) for about, titles in found.items()), *TERMS)


def account(run: Run) -> list[tuple[str, str]]:
    """(name, text) lines: command, data, seed, weights, versions, machine; nothing for what is absent."""
    manifest = run.manifest
    dataset = manifest.get("dataset") or {}
    git = manifest.get("git") or {}
    lines = [
        ("Command", short_command(str(manifest.get("command") or manifest.get("command_line") or ""))),
        ("Created", manifest.get("created")),
        ("Finished", manifest.get("finished") or "not finished: figures are of what is there"),
        ("Cases", _cases(dataset)),
        ("Data fingerprint", dataset.get("fingerprint")),
        ("Pre-processing", short_text(_flat(dataset.get("preprocessing")))),
        ("Seed", manifest.get("seed")),
        *(
            (f"Perceptual net {name}", str((entry or {}).get("sha256", ""))[:16])
            for name, entry in sorted((manifest.get("perceptual") or {}).items())
        ),
        *(
            (f"Checkpoint {name}", _hashed(_card(entry), (entry or {}).get("sha256")))
            for name, entry in sorted((manifest.get("checkpoints") or {}).items())
        ),
        *(
            (f"What really ran: {name}", _backend(entry))
            for name, entry in sorted((manifest.get("backends") or {}).items())
        ),
        ("uadbench", version_text(manifest.get("version") or manifest.get("uadbench"), git)),
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
            yield f"{prefix}{name}", short_text(_flat(entry))


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
    known = [str(card["name"])] if card.get("name") else []
    known += [f"{card[name]} {name}" for name in ("steps", "parameters") if card.get(name) is not None]
    return ", ".join(known) or "weights"


_FIRST = (
    *(
        "provider",
        "providers",
        "torch",
        "onnxruntime",
        "openvino",
        "tensorrt",
        "tensorrt_rtx",
        "cuda",
        "gpu",
        "device_name",
    ),
    *("threads", "precision_hint", "layers_by_precision"),
)


def _backend(entry: Any) -> str:
    """What a back end said of itself (Denoiser.describe()): provider, versions and threads first, hashes short."""
    if not isinstance(entry, dict):
        return ""
    names = [name for name in _FIRST if name in entry] + sorted(set(entry) - set(_FIRST))
    known = [(name.replace("_", " "), _told(name, entry[name])) for name in names]
    return short_text("; ".join(f"{name} {text}" for name, text in known if text))


def _told(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and name.endswith("sha256"):
        return value[:16]
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(part)}" for key, part in sorted(value.items()))
    if isinstance(value, list):
        return ", ".join(_flat(part) for part in value)
    return _flat(value)


def _hashed(name: Any, sha256: Any) -> str:
    if not name:
        return ""
    return f"{name} (sha256 {str(sha256)[:16]})" if sha256 else str(name)


def version_text(version: Any, git: Mapping[str, Any]) -> str:
    """'0.1.0, commit 0123abcd4567 with uncommitted changes'; "" without a version."""
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


_HARNESS, _OPENING = ("load", "score", "write", "other"), ("open", "parity")


def _sessions(sessions: list[dict[str, Any]]) -> str:
    """How long each session ran, and how much of it was not the methods' own."""
    texts = []
    for entry in sessions:
        seconds = entry.get("seconds") or {}
        total = seconds.get("total")
        if not isinstance(total, int | float) or total <= 0:
            continue
        harness, opening = (
            sum(seconds.get(name, 0.0) for name in names) / total for names in (_HARNESS, _OPENING)
        )
        texts.append(
            f"{total:.0f} s: {harness:.1%} reading, scoring and writing; {opening:.1%} opening back ends and parity"
        )
    return " | ".join(texts)
