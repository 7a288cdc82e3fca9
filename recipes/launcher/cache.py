"""``lightning cache ls | gc``: what lies in feature stores, and the removal of what nobody can use again."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from datamodules.video.cached_entries import Cached, entries_of, stores_below, unused
from datamodules.video.in_use import alone

_DAY_S = 86400.0


def cache_command(options: argparse.Namespace) -> str:
    """What the command prints.

    Args:
        options: ``action`` (ls or gc), ``root``, ``dry_run`` and ``older_than`` (days or None).

    Raises:
        ValueError: there is no such folder, or the number of days is negative.
    """
    root = Path(options.root)
    if not root.is_dir():
        raise ValueError(f"--root {options.root}: no such folder; name the one that holds your feature_dir")
    if options.older_than is not None and not options.older_than >= 0:
        raise ValueError(f"--older-than {options.older_than:g}: a number of days, 0 or more")
    stores = stores_below(root)
    if not stores:
        return f"{root} holds no feature store"
    act = _listed if options.action == "ls" else _cleaned
    return "\n".join(line for store in stores for line in act(store, options))


def _listed(store: Path, options: argparse.Namespace) -> list[str]:
    entries = entries_of(store)
    reasons = dict(unused(entries, options.older_than))
    lines = [f"{store}: {_total(entries)}"]
    for entry in sorted(entries, key=lambda entry: (entry.encoder, entry.grid, entry.video)):
        lines.append(_row(entry, reasons.get(entry, "")))
    if reasons:
        lines.append(f"  of no use: {_total(reasons)}; lightning cache gc --root {options.root} removes them")
    return lines


def _cleaned(store: Path, options: argparse.Namespace) -> list[str]:
    if options.dry_run:
        doomed = list(unused(entries_of(store), options.older_than))
        rows = [_row(entry, reason) for entry, reason in doomed]
        return [f"{store}: would remove {_total(entry for entry, _ in doomed)}", *rows]
    with alone(store) as hindrance:
        if hindrance:
            return [f"{store}: nothing was removed, because {hindrance}; gc --dry-run shows what there is to remove"]
        doomed = list(unused(entries_of(store), options.older_than))
        failed = {entry: problem for entry, _ in doomed if (problem := _removal_problem(entry.path))}
    removed = [(entry, reason) for entry, reason in doomed if entry not in failed]
    lines = [f"{store}: removed {_total(entry for entry, _ in removed)}"]
    lines += [_row(entry, reason) for entry, reason in removed]
    return lines + [f"  {entry.path} could not be removed: {problem}" for entry, problem in failed.items()]


def _removal_problem(path: Path) -> str:
    """Removes a file; why it could not be, if so."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _row(entry: Cached, reason: str) -> str:
    used = f"used {entry.unused_s / _DAY_S:.0f} days ago" if entry.unused_s >= _DAY_S else "used today"
    told = f"  ({reason})" if reason else ""
    made_by = f"{entry.encoder} {entry.grid}".strip()
    video = entry.video if entry.video.isprintable() else repr(entry.video)[1:-1]
    return f"  {_size(entry.num_bytes):>10}  {used:<18}  {made_by}  {video}{told}"


def _total(entries: Iterable[Cached]) -> str:
    sizes = [entry.num_bytes for entry in entries]
    return f"{len(sizes)} file{'s' * (len(sizes) != 1)}, {_size(sum(sizes))}"


def _size(num_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.1f} {unit}" if unit != "B" else f"{num_bytes:.0f} B"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"
