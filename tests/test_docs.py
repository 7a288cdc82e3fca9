"""What the documentation names is there: links, files, recipes, classes, commands and their options."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
from pathlib import Path

import pytest
import yaml

from recipes.launcher.check import check
from recipes.launcher.class_paths import folders_of
from recipes.launcher.command_line import build_parser
from recipes.launcher.guard import ROOT
from recipes.launcher.merge import RecipeError

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").rglob("*.md")])
HISTORY = "log.md"
"""What did not work, with dates: paths in it are those of that day."""
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(
    r"(?<![\w/.-])((?:modules|datamodules|callbacks|recipes|tests|docs)/[\w./-]+\.(?:py|yaml|md|sh|txt|json|cpp))\b"
)
FOLDER = re.compile(r"`((?:modules|datamodules|callbacks|recipes|tests|docs)/(?:\w+/)*)`")
DOTTED = re.compile(r"(?<![\w/.])((?:modules|datamodules|callbacks|recipes)(?:\.\w+)+)")
ENDINGS = {"py", "yaml", "yml", "md", "jsonl", "json", "txt", "toml"}
OWN = re.compile(r"example|baselines/CARD|overlays/joint\.yaml")
"""Names that a page makes up, that a run writes, or that results.md says are of an earlier commit."""


def names(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them: small letters, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def unresolved(page: Path, text: str) -> list[str]:
    """Relative links of a page's text that lead nowhere."""
    wrong = []
    for target in (one or other for one, other in LINK.findall(text)):
        path, _, anchor = target.partition("#")
        place = page if not path else (page.parent / path).resolve()
        if re.match(r"[a-z]+:", target):
            continue
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            wrong.append(target)
    return wrong


def missing_names(text: str) -> list[str]:
    """Files and dotted names in a text that the repository does not have."""
    files = [f for f in FILE.findall(text) + FOLDER.findall(text) if not OWN.search(f) and not (ROOT / f).exists()]
    dotted = [d for d in set(DOTTED.findall(text)) if d.rsplit(".", 1)[-1] not in ENDINGS and not OWN.search(d)]
    return files + [d for d in dotted if not leads_somewhere(d)]


def leads_somewhere(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_lead_somewhere(page: Path) -> None:
    assert unresolved(page, page.read_text()) == []


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != HISTORY], ids=names)
def test_files_and_classes_that_a_page_names_are_there(page: Path) -> None:
    assert missing_names(page.read_text()) == []


def test_what_leads_nowhere_is_found() -> None:
    page = ROOT / "README.md"
    text = "[a](docs/no.md) [b](docs/README.md#no) [c](docs/README.md) ![d](no.png) [e](https://example.org)"
    assert unresolved(page, text) == ["docs/no.md", "docs/README.md#no", "no.png"]
    text = "`recipes/no.yaml`, recipes/tspo.yaml, modules.rl.grpo.nothing, modules.no.Class, modules.rl.grpo"
    assert sorted(missing_names(text)) == ["modules.no.Class", "modules.rl.grpo.nothing", "recipes/no.yaml"]


def test_every_method_has_a_page_and_every_page_is_on_the_path() -> None:
    methods = {p.parent.name for p in (ROOT / "modules" / "methods").glob("*/__init__.py")}
    assert methods <= {p.stem for p in (ROOT / "docs" / "methods").glob("*.md")}
    path = (ROOT / "docs" / "README.md").read_text()
    pages = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    assert [p for p in pages if f"({p})" not in path] == []


def commands() -> dict[str, str]:
    """Every command with its help text."""
    out = {}
    subparsers = next(a for a in build_parser()._actions if isinstance(a.choices, dict))
    for name, parser in (subparsers.choices or {}).items():
        with contextlib.redirect_stdout(io.StringIO()) as text:
            parser.print_help()
        out[name] = text.getvalue()
    return out


def test_the_command_page_has_every_command_and_option() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    sections = dict(re.findall(r"^## `lightning (\w+)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    helps = commands()
    assert set(sections) == set(helps)
    for name, text in helps.items():
        options = set(re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE))
        shown = set(re.findall(r"^\| `(--[a-z-]+)", sections[name], re.MULTILINE))
        assert shown == options, name


def test_messages_that_are_explained_are_messages_of_the_code() -> None:
    files = [p for room in ("modules", "datamodules", "callbacks", "recipes") for p in (ROOT / room).rglob("*.py")]
    code = "".join(re.sub(r'"\s*\n\s*f?"', "", p.read_text()) for p in files)  # texts in pieces, joined
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    messages = [m for cell in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for m in re.findall(r"`([^`]+)`", cell)]
    # jsonargparse's, torch's and vLLM's
    foreign = {"Not of type PositiveInt", "CUDA out of memory", "Per-request media_io_kwargs are disabled"}
    assert len(messages) > 40
    assert [m for m in messages if m not in code and m not in foreign] == []


def test_the_readmes_own_recipe_passes_check(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    recipe = {**yaml.safe_load(block), "base": str(ROOT / "recipes" / "ask.yaml")}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "video.mp4").touch()
    check(str(tmp_path / "mine.yaml"), [], ["--video", str(tmp_path / "video.mp4"), "--question", "What?"])


COMMAND = re.compile(r"^lightning ((?:run|check) recipes/.*?)(?:\s+#.*)?$", re.MULTILINE)
MISUSED = re.compile(r"no such key|Not of type|known package|cannot import|has no |is no class|Expected|required")
"""In complaints about the command itself, and not about files that only its reader has."""


def documented_commands() -> list[str]:
    """Commands on recipes of ours from all pages but the history, less those that show a mistake or a made-up file."""
    found = {c for p in PAGES if p.name != HISTORY for c in COMMAND.findall(p.read_text())}
    return sorted(
        c for c in found if not OWN.search(c) and not re.search(r"--overlay (FILE|my)|window -1|num_frame 4", c)
    )


def misused(command: str) -> list[str]:
    """What `check` finds wrong with a command itself."""
    words = [re.sub(r"^S$|(?<=_s)S$", "0", word) for word in shlex.split(command)]
    options, overrides = build_parser().parse_known_args(words)
    try:
        folders = folders_of(options.user_dir, [options.recipe, *options.overlay])
        check(options.recipe, options.overlay, overrides, files=False, folders=folders)
    except RecipeError as error:
        return [mistake for mistake in error.mistakes if MISUSED.search(mistake) and "not a folder" not in mistake]
    return []


def test_documented_commands_pass_check() -> None:
    commands = documented_commands()
    assert len(commands) > 25
    assert {c: wrong for c in commands if (wrong := misused(c))} == {}
    assert misused("run recipes/tspo.yaml --model.num_frame 4") != []
