"""A profile in words and tables: what its figures are, what is to be said of them, profile.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from uadbench.reports.profile_machine import ceiling_lines, gpu_of, machine_lines
from uadbench.reports.text import DASH, escape, milliseconds
from uadbench.reports.vocabulary import LOAD_LIMIT

__all__ = [
    "HEADS",
    "NOTES",
    "TERMINAL",
    "arm_text",
    "banner",
    "doubtful",
    "markdown",
    "notes",
    "row_text",
    "summary",
    "table_rows",
    "what_text",
]

Row = Mapping[str, Any]

IDLE = 0.6  # processor seconds over seconds and threads, below which a reader is told

NOTES: tuple[tuple[str, str], ...] = (
    (
        "Rounds",
        "All arms of a network and batch size are open at once and take turns, one each a round, from three on in an "
        "order that changes; so what disturbs one disturbs all. A turn of a network is two calls, of which the second "
        "is timed, as in a chain; of a method it is one run.",
    ),
    (
        "ms",
        "By the host's clock, with everything queued done before and after. network: one call of the whole batch; "
        "image: the call, or the whole method, over its batch. First calls and opening stand apart. p90 from "
        "29 calls, p99 from 299.",
    ),
    (
        "Speed-up",
        "Median of eager torch fp32 over the row's, in the same rounds, with a 95 % bootstrap interval over rounds; "
        "only where parity passed and the machine was free.",
    ),
    (
        "Parity",
        "Calls of the arm's network against torch fp32, in batches of the timed size, at three levels or at the "
        "strengths that methods tell it: the worst error as a part of the image, and whether that, and the error of a "
        "pixel's probability where the network gives one, are within the gates of its precision.",
    ),
    (
        "FLOP and bytes",
        "Counted on tensors without data: products, convolutions and attention, a multiply-add as two; every "
        "operation but views reads its inputs and writes its outputs once, in the arm's precision; in int8 a byte for "
        "what quantized convolutions read and write, fp32 for the rest (int8-bf16: bf16). A back end that fuses "
        "operations moves fewer bytes. Of a method, its network calls.",
    ),
    (
        "Ceiling",
        "What torch reached here just before, in the row's precision: the better of a large matrix product and a 3 x 3 "
        "convolution. A share above 100 % means that the back end's library is faster than torch's. Of copy: the bytes "
        "counted, over the median time, as a share of what a large copy moves; small where arithmetic decides, over "
        "100 % where caches or fused operations spare the memory what is counted.",
    ),
    (
        "Memory",
        "In a process of the arm's own, opened from the caches and called twice. Host: the highest resident memory "
        "above that of a process with torch imported. Device: what is no longer free, whichever library took it.",
    ),
    (
        "Load",
        f"Load average before each round; rows above {LOAD_LIMIT} x threads are taken under load: they have no "
        "speed-up and are never compared.",
    ),
)
"""What the figures are, for every form of report."""


def arm_text(row: Row) -> str:
    """'openvino bf16'; the CPU goes without saying."""
    return f"{row['backend']} {row['precision']}" + ("" if row["device"] == "cpu" else f" {row['device']}")


def what_text(row: Row) -> str:
    """'unet-gaussian', or the method's label."""
    return str(row["network"] if row["method"] == "-" else row["label"])


def row_text(row: Row) -> str:
    """'unet-gaussian, openvino bf16, batch 1'."""
    return f"{what_text(row)}, {arm_text(row)}, batch {row['batch']}"


TERMINAL = ("what", "arm", "batch", "ms/image", "speed-up", "parity", "of ceiling", "peak MiB", "stability")
"""What a terminal has room for, of ``HEADS``."""


def table_rows(profile: Mapping[str, Any], heads: Sequence[str] | None = None) -> Iterator[list[str]]:
    """The cells of each row under these heads, all of ``HEADS`` where None."""
    for row in profile["rows"]:
        yield [_CELLS[head](row) for head in heads or HEADS]


def banner(profile: Mapping[str, Any]) -> list[str]:
    """What a reader must know before any figure."""
    found = (
        []
        if profile["finished"]
        else ["Unfinished: it was interrupted, and holds what was measured until then."]
    )
    if loads := [row["load_max"] for row in profile["rows"] if row["under_load"]]:
        found.append(
            f"Taken under load ({max(loads):.1f} with {_threads(profile['threads'])}): something else was running, so "
            "trust no time in the rows marked so."
        )
    return found


def summary(profile: Mapping[str, Any]) -> str:
    """Where and of what, in a line."""
    found = profile["environment"]
    threads = _threads(profile["threads"])
    gpu = gpu_of(profile).get("name")
    return f"{', '.join(profile['networks'])} on {gpu or found.get('cpu')}, {threads}, {profile['created']}."


def _waited(row: Row) -> bool:
    """Whether a CPU's threads were idle much of the time; of a row under load that is known already."""
    return (
        row["device"] == "cpu"
        and row["cpu_use"] is not None
        and row["cpu_use"] < IDLE
        and not row["under_load"]
    )


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"


def doubtful(row: Row) -> bool:
    """Whether a row's times deserve no trust."""
    return bool(row["under_load"] or row["status"] != "ok" or row["stability"]["verdict"] != "stable")


def notes(profile: Mapping[str, Any]) -> list[str]:
    """What is to be said of single rows, and of back ends that have none."""
    rows, found = profile["rows"], []
    for row in rows:
        if row["status"] == "failed":
            found.append(f"{row_text(row)}: failed: {row['reason']}")
        elif row["speedup_note"] not in ("", "the reference") and not row["under_load"]:
            found.append(f"{row_text(row)}: no speed-up: {row['speedup_note']}")
    idle = [row for row in rows if _waited(row)]
    if idle:
        least = min(idle, key=lambda row: row["cpu_use"])
        found.append(
            f"In {len(idle)} of {len(rows)} rows threads ran less than {IDLE:.0%} of the time, least in "
            f"{row_text(least)} ({least['cpu_use']:.0%}): "
            "work for fewer threads, or a busy machine."
        )
    if any((row["share_of_ceiling"] or 0) > 1 for row in rows):
        found.append(
            "A share above 100 %: that back end's library is faster here than torch's, whose ceilings these are."
        )
    if uncounted := {row["count_note"] for row in rows if row["count_note"]}:
        found += [f"FLOP and bytes {note}" for note in sorted(uncounted)]
    found += [f"Left out: {name}: {why}" for name, why in profile["left_out"].items()]
    return found + [_stream(entry) for entry in profile["streams"]]


def _stream(entry: Mapping[str, Any]) -> str:
    where = f"{entry['network']}, {arm_text(entry)}, batch {entry['batch']}"
    ways = f"{entry['streams']} callers of {_threads(entry['threads_each'])} each against one"
    if "reason" in entry:
        return f"{where}: {ways}: {entry['reason']}."
    words = {
        1: "one caller is better",
        None: f"not told apart (more than {entry['worth']} times is asked for)",
    }
    better = words.get(entry["better"], f"{entry['streams']} callers are better")
    load = " (taken under load)" if entry["under_load"] else ""
    rates = f"{entry['images_per_s']:.3g} against {entry['one_images_per_s']:.3g} images/s"
    turns = f"{entry['ratio']:.2f} times, {min(entry['ratios']):.2f} to {max(entry['ratios']):.2f} by turn"
    return f"{where}: {ways}: {rates} ({turns}), {better}{load}."


def markdown(profile: Mapping[str, Any]) -> str:
    """profile.md."""
    lines = ["# Profile", "", escape(summary(profile)), ""]
    lines += [f"**{escape(text)}**\n" for text in banner(profile)]
    lines += ["| " + " | ".join(HEADS) + " |", "| --- | --- |" + " ---: |" * (len(HEADS) - 3) + " --- |"]
    lines += ["| " + " | ".join(escape(cell) for cell in cells) + " |" for cells in table_rows(profile)]
    lines += ["", *(f"* {escape(text)}" for text in notes(profile))]
    lines += ["", "## Ceilings", ""]
    lines += [f"* {escape(text)}" for text in ceiling_lines(profile)]
    lines += ["", "## How it was measured", ""]
    lines += [f"* **{name}**: {text}" for name, text in (*NOTES, ("Stability", profile["stability_rule"]))]
    lines += ["", "## Machine", ""]
    lines += [f"* {escape(name)}: {escape(text)}" for name, text in machine_lines(profile)]
    return "\n".join(lines) + "\n"


def _figure(value: Any) -> str:
    return DASH if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _share(value: float | None) -> str:
    return DASH if value is None else f"{value:.0%}"


def _speedup(row: Row) -> str:
    if not row["speedup"]:
        return DASH
    return f"{row['speedup']['value']:.2f} ({row['speedup']['lo']:.2f}–{row['speedup']['hi']:.2f})"


def _parity(row: Row) -> str:
    return str(row["parity"]) + (f" {row['parity_error']:.0e}" if row["parity_error"] is not None else "")


def _state(row: Row) -> str:
    if row["status"] != "ok":
        return str(row["status"])
    return str(row["stability"]["text"]) + (", under load" if row["under_load"] else "")


_CELLS: Mapping[str, Callable[[Row], str]] = {
    "what": what_text,
    "arm": arm_text,
    "batch": lambda row: str(row["batch"]),
    "network ms": lambda row: milliseconds(row["network_ms"]["p50"]),
    "ms/image": lambda row: milliseconds(row["image_ms"]["p50"]),
    "p90": lambda row: milliseconds(row["image_ms"]["p90"]),
    "images/s": lambda row: _figure(row["images_per_s"]),
    "speed-up": _speedup,
    "parity": _parity,
    "GFLOP/s": lambda row: _figure(row["gflops"]),
    "of ceiling": lambda row: _share(row["share_of_ceiling"]),
    "GB/s": lambda row: _figure(row["gb_per_s"]),
    "of copy": lambda row: _share(row["share_of_copy"]),
    "first ms": lambda row: milliseconds(row["first_call_ms"]),
    "build ms": lambda row: milliseconds(row["build_ms"]),
    "peak MiB": lambda row: DASH if row["peak_mib"] is None else f"{row['peak_mib']:.0f}",
    "stability": _state,
}
HEADS = tuple(_CELLS)
"""Of the table, in every form of report."""
