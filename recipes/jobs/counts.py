"""What the filters of a data-building job left out, on paper and on the screen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from modules.console import PlainConsole
from modules.files.strict_json import strict_json

_NEXT = "lightning run recipes/paper/tspo_qwen2_5_vl_7b.yaml --train {out} ..."


def report(run_dir: Path, out: Path, total: int, counts: Counter[str], next_command: str = _NEXT) -> None:
    """Prints and writes what each filter dropped."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "counts.json").write_text(strict_json({"total": total, **counts}, indent=2) + "\n")
    console = PlainConsole()
    console.print(f"questions   {total}")
    for verdict, count in counts.most_common():
        console.print(
            f"{'kept' if verdict == 'kept' else 'left out':<11} {count}" + (f": {verdict}" * (verdict != "kept")),
            highlight=False,
        )
    console.print(f"written     {out}")
    after = next_command.format(out=out) if counts["kept"] else "none: no question is left, and the lines above say why"
    console.print(f"next        {after}", soft_wrap=True)
