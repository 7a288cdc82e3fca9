"""What can be wrong with a row, and what an honest reader may then say: the oracle beside each mutation.

The oracle knows the question from which a row was built. A mutation of options or answer says which texts the right
answer may be (``meaning``), read off the documented convention of the layout; every other field has to come out as it
would have without the mutation, but for those that the mutated one becomes (``free``).
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from fuzz.layouts import ASKED, HOLES, LETTERS, UNREAD, Asked, Layout
from fuzz.writing import Raw, Twice, content_of, to_json

DEEP: Any = None
for _ in range(60):
    DEEP = [DEEP]
HOSTILE: list[Any] = [
    None,
    "",
    " ",
    "N/A",
    "A",
    "b",
    "Z",
    "nan",
    "1.7",
    "12.5",
    "x",
    True,
    False,
    0,
    1,
    -1,
    2,
    7,
    1.7,
    2.0,
    1e308,
    -0.0,
    math.nan,
    math.inf,
    -math.inf,
    10**30,
    -(10**30),
    [],
    {},
    ["a", "b"],
    [None],
    {"a": 1},
    DEEP,
    "\x00",
    "a\x00b",
    "\ud800",
    "x\udfff",
    "\ufeffhello",
    "a\r\nb",
    "\u2028",
    "é" * 300,
    "long " * 20_000,
    " " * 100_000,
    "\x1b[31mred",
    "<answer>" + " " * 3000,
    "[" * 500,
    "['a', 'b']",
    "[1, 'b']",
    "1_000",
    "١٢",
    "9" * 5000,
    "0x10",
    "1e400",
]
PATHS: list[Any] = [
    "../secret.mp4",
    "../secret",
    "a/../../secret.mp4",
    "/etc/passwd",
    "//etc/passwd",
    "~/secret",
    "~root/x",
    "C:\\secret",
    "..\\secret.mp4",
    "file:///etc/passwd",
    "http://127.0.0.1/x.mp4",
    "..",
    ".",
    "/",
    "",
    "a\x00b.mp4",
    "x" * 300,
    "a/" * 3000,
    "./v0.mp4",
    "sub//v0.mp4",
    "{outside}/secret.mp4",
    "{outside}/secret.json",
    "{videos}/v0.mp4",
    "../secret.json",
    "../secret.srt",
    "{outside}/secret.srt",
    "v0.mp4/../../secret.mp4",
    "\ud800.mp4",
    "CON",
    "-rf",
    "$HOME/x",
    "%2e%2e/x",
]
TIMES = [
    "1 --> x",
    "00:00:09,000 --> 00:00:02,000",
    "-1 --> 2",
    "nan --> inf",
    "--> ",
    "1" * 400 + " --> 2",
    "99999999:00:00 --> 99999999:00:01",
    "\u0661:\u0662 --> \u0663:\u0664",
    "00:00:01,000 --> 00:00:02,000 position:50%",
]
SLOW = [
    "<answer>" + " " * 5000,
    "<" * 30_000,
    "1" * 30_000,
    "(A) \n" * 10_000,
    "{\\" * 20_000,
    " \n" * 30_000,
    "A." + " " * 30_000 + "B",
    "answer " + " " * 30_000,
    "(" * 30_000,
    "1:" * 20_000,
    "(A) x\n\n" * 10_000,
]
SPANS = [[["x", 9]], [[math.nan, 9]], [[-1, 9]], [[50, 90]], [[70, 80]], [[9, 5]], [[1, 2, 3]], [3, 4]]


@dataclass
class Mutant:
    """Files with something wrong in them, and what may come out."""

    kind: str
    what: str
    files: dict[str, bytes]
    row: int | None = None
    """The mutated row; None where every row may be."""
    free: frozenset[str] = frozenset()
    """The fields of the mutated row's question that may come out otherwise."""
    meaning: frozenset[str] | None = None
    """The texts that the right answer may be; None where it has to be what it was."""
    harmless: bool = False
    """Whether everything has to come out as it was."""
    refused: bool = False
    """Whether nothing may come out of the mutated row."""


@dataclass
class Valid:
    """A layout's rows before anything is wrong with them."""

    layout: Layout
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.asked = [replace(a, options=list(a.options), answer=self.layout.answer(a)) for a in ASKED]

    def rows(self) -> list[Any]:
        return [self.layout.build(a) for a in self.asked]

    def files(self, rows: Any, mutated: int | None = None, beside: dict[str, Any] | None = None) -> dict[str, bytes]:
        others = self.layout.beside() if beside is None else beside
        return {
            self.layout.file: content_of(self.layout.file, rows, mutated),
            **{name: content_of(name, content) for name, content in others.items()},
        }


def norm(text: str) -> str:
    return " ".join(re.sub("[\"']", "", text.lower()).split()).rstrip(".")


def meaning(means: str, options: list[Any], answer: Any) -> frozenset[str]:
    """The option texts that an answer may be read as; empty where it has to be refused, or counted as no answer."""

    def place(p: int) -> frozenset[str]:
        there = 0 <= p < len(options) and options[p] not in HOLES and not isinstance(options[p], (bool, list, dict))
        return frozenset([str(options[p]).strip()]) if there else frozenset()

    if isinstance(answer, (bool, list, dict)) or answer is None:
        return frozenset()
    if means == "index":
        if isinstance(answer, str):
            answer = float(answer) if re.fullmatch(r"\s*\d{1,9}(\.0*)?\s*", answer, re.ASCII) else math.nan
        return place(int(answer)) if math.isfinite(answer) and answer == int(answer) else frozenset()
    if not isinstance(answer, str):
        answer = f"{answer:g}" if math.isfinite(answer) and abs(answer) < 1e9 else "?"
    said = answer.strip()
    alone = re.fullmatch(r"\(?([A-Za-z])\)?[.:]?", said)
    by_letter = place(LETTERS.index(alone[1].upper())) if alone else frozenset()
    by_text = frozenset(str(o).strip() for o in options if o not in HOLES and norm(str(o)) == norm(said))
    if means == "letter" and by_letter:
        return by_letter
    if means == "either" and by_letter and by_text and by_letter != by_text:
        return frozenset()
    if by_text or by_letter:
        return by_text or by_letter
    both = re.fullmatch(r"\(?([A-J])[).:]+\s*(.*)", said, re.DOTALL)
    return place(LETTERS.index(both[1])) if both else frozenset()


# ---- options and answers ----


def _rebuilt(valid: Valid, kind: str, what: str, row: int, asked: Asked, **more: Any) -> Mutant:
    """A row built anew from a question that is no longer what it was; its answer stays as it was written."""
    asked_all = list(valid.asked)
    asked_all[row] = asked
    rows = [valid.layout.build(a) for a in asked_all]
    told = {"meaning": meaning(valid.layout.means, asked.options, asked.answer), **more}
    return Mutant(kind, what, valid.files(rows, row), row, frozenset({"options", "answer"}), **told)


def hole(valid: Valid, draw: Random) -> Mutant:
    row, asked = _some(valid, draw)
    n, empty = draw.randrange(len(asked.options)), draw.choice(HOLES)
    options = [empty if i == n else o for i, o in enumerate(asked.options)]
    return _rebuilt(valid, "options: a hole", f"{empty!r} at {n}", row, replace(asked, options=options))


def deleted(valid: Valid, draw: Random) -> Mutant:
    row, asked = _some(valid, draw)
    n = draw.randrange(len(asked.options))
    changed = replace(asked, options=[o for i, o in enumerate(asked.options) if i != n])
    return _rebuilt(valid, "options: one deleted", f"{n}", row, changed)


def shuffled(valid: Valid, draw: Random) -> Mutant:
    row, asked = _some(valid, draw)
    options = draw.sample(asked.options, len(asked.options))
    return _rebuilt(valid, "options: shuffled", repr(options), row, replace(asked, options=options))


def one_twice(valid: Valid, draw: Random) -> Mutant:
    row, asked = _some(valid, draw)
    a, b = draw.randrange(len(asked.options)), draw.randrange(len(asked.options))
    options = [asked.options[a] if i == b else o for i, o in enumerate(asked.options)]
    return _rebuilt(valid, "options: one twice", f"{a} at {b}", row, replace(asked, options=options))


def letters_as_texts(valid: Valid, draw: Random) -> Mutant:
    row, asked = _some(valid, draw)
    options = draw.sample("ABCD", 4)
    changed = replace(asked, options=options, answer=valid.layout.answer(replace(asked, options=options)))
    if valid.layout.answer_as == "both" and draw.random() < 0.5:
        changed = replace(changed, answer=LETTERS[asked.answer_index])
    return _rebuilt(valid, "options: letters as texts", f"{options}, answer {changed.answer!r}", row, changed)


def too_many(valid: Valid, draw: Random) -> Mutant | None:
    if valid.layout.options_in.startswith("columns"):
        return None
    row, asked = _some(valid, draw)
    options = [*asked.options, *(f"further {n}" for n in range(draw.choice([7, 8, 12, 22])))]
    changed = replace(asked, options=options)
    return _rebuilt(valid, "options: more than letters", f"{len(options)}", row, changed, refused=True)


def other_letters(valid: Valid, draw: Random) -> Mutant | None:
    if valid.layout.options_in not in ("list", "lines") or valid.layout.means != "letter":
        return None
    row, asked = _some(valid, draw)
    letters = "".join(draw.sample("ABCDEFG", 4))
    if letters == "ABCD":
        return None
    own = {letters[n]: o for n, o in enumerate(asked.options)}
    named = str(asked.answer)[0]
    agree = own.get(named) == asked.options[LETTERS.index(named)]
    told = {"meaning": frozenset([own[named]]) if agree else frozenset()}
    found = _rebuilt(valid, "options: other letters", letters, row, replace(asked, letters=letters), **told)
    # the letters are no longer those of the places: options may keep them
    return replace(found, free=found.free | {"question", "lettered"})


def beside_differ(valid: Valid, draw: Random) -> Mutant | None:
    if valid.layout.options_in != "list+lines":
        return None
    rows, row = valid.rows(), draw.randrange(3)
    kept = rows[row]["candidates"]
    changed = draw.sample(kept, len(kept)) if draw.random() < 0.5 else kept[:1] + kept[2:]
    if changed == kept:
        return None
    rows[row]["candidates"] = changed
    free = frozenset({"options", "answer", "question"})
    return Mutant("options: beside and inside differ", repr(changed), valid.files(rows, row), row, free, refused=True)


def wrong_options(valid: Valid, draw: Random) -> Mutant | None:
    name = {"list": "candidates", "list+lines": "candidates", "literal": "candidates"}.get(valid.layout.options_in)
    if name is None:
        return None
    rows, row = valid.rows(), draw.randrange(3)
    name = name if name in rows[row] else "options"
    value = draw.choice([v for v in HOSTILE if v not in (None, "")] + ["a man", "abcd", {"A": "a man"}, [["a"], ["b"]]])
    rows[row][name] = value
    free = frozenset({"options", "answer", "question"})
    listed = value if isinstance(value, list) else {"['a', 'b']": ["a", "b"], "[1, 'b']": [1, "b"]}.get(str(value))
    usable = isinstance(listed, list) and all(isinstance(o, (str, int)) and not isinstance(o, bool) for o in listed)
    told = meaning(valid.layout.means, listed, valid.asked[row].answer) if usable else frozenset()  # type: ignore[arg-type]
    if value == [] and valid.layout.options_in == "list+lines":  # those inside the question remain
        told = meaning(valid.layout.means, valid.asked[row].options, valid.asked[row].answer)
    files = valid.files(rows, row)
    return Mutant("options: wrong type", f"{value!r:.60}", files, row, free, told, refused=not usable)


def _forms(letter: str, text: str, n: int) -> list[Any]:
    """Everything that option n may be called, and some that name two."""
    return [
        letter,
        letter.lower(),
        f"({letter})",
        f"{letter}.",
        f" {letter}\n",
        f"{letter}. {text}",
        text,
        text.upper(),
        f'"{text}"',
        n,
        float(n),
        str(n),
        n + 0.5,
        f"{LETTERS[(n + 1) % 4]}. {text}",
        f"{letter}. something else",
    ]


def other_answer(valid: Valid, draw: Random) -> Mutant:
    """The same or another option in another form, one out of range, or something that is no answer."""
    row, asked = _some(valid, draw)
    n = draw.randrange(len(asked.options))
    form = draw.choice(["form", "range", "type"])
    if form == "form":
        value = draw.choice(_forms(LETTERS[n], asked.options[n], n))
    elif form == "range":
        value = draw.choice([4, -1, 10**9, "E", "J", "(H)", "Z", "-1", "9", "E. what", "none of them"])
    else:
        value = draw.choice([v for v in HOSTILE if v not in ("A", "b", 0, 1, 2, "N/A") or isinstance(v, bool)])
    kind = {"form": "answer: another form", "range": "answer: out of range", "type": "answer: wrong type"}[form]
    told = meaning(valid.layout.means, asked.options, value)
    if form == "form" and isinstance(value, str) and re.match(r"[A-D]\. ", value) and valid.layout.means != "index":
        told = frozenset([asked.options[n]]) if value.startswith(LETTERS[n]) else frozenset()
    return _rebuilt(valid, kind, f"{value!r:.60}", row, replace(asked, answer=_for(valid, value)), meaning=told)


def _for(valid: Valid, value: Any) -> Any:
    """As a text, where the format has nothing else."""
    return ("" if value is None else str(value)) if valid.layout.file.endswith(("csv", "tsv")) else value


# ---- other fields ----


def other_field(valid: Valid, draw: Random) -> Mutant:
    """Any value in the place of one that is no option and no answer."""
    rows, row = valid.rows(), draw.randrange(3)
    path = draw.choice(_leaves(valid, rows[row]))
    value = draw.choice(HOSTILE)
    _put(rows[row], path, value)
    return _changed(valid, "field: any value", rows, row, path, value)


def slow_text(valid: Valid, draw: Random) -> Mutant:
    """A long text over which a careless expression takes minutes."""
    rows, row = valid.rows(), draw.randrange(3)
    path, value = draw.choice(_leaves(valid, rows[row])), draw.choice(SLOW)
    if valid.layout.name.startswith("TSPO") and draw.random() < 0.5:
        path = ("solution",)
    elif isinstance(valid.layout.beside().get("subtitles/v0.srt"), str) and draw.random() < 0.5:
        others = valid.layout.beside() | {
            f"subtitles/v{row}.srt": f"1\n00:00:01,000 --> 00:00:02,000\n{value}\n{value}\n"
        }
        files = valid.files(rows, row, others)
        return Mutant("text: slow to read", f"subtitles {value!r:.40}", files, row, frozenset({"subtitles"}))
    _put(rows[row], path, value)
    return _changed(valid, "text: slow to read", rows, row, path, value)


def path_field(valid: Valid, draw: Random) -> Mutant:
    rows, row = valid.rows(), draw.randrange(3)
    name, value = draw.choice(valid.layout.path_fields), draw.choice(PATHS)
    rows[row][name] = value
    return _changed(valid, "path", rows, row, (name,), value)


def missing_field(valid: Valid, draw: Random) -> Mutant | None:
    rows, row = valid.rows(), draw.randrange(3)
    path = draw.choice(_leaves(valid, rows[row]))
    if isinstance(path[-1], int):
        return None
    del _at(rows[row], path[:-1])[path[-1]]
    return _changed(valid, "field: missing", rows, row, path, "deleted")


def twice(valid: Valid, draw: Random) -> Mutant | None:
    """A key that stands twice in a JSON object; the reader may not choose one."""
    if not valid.layout.file.endswith(("json", "jsonl")):
        return None
    rows, row = valid.rows(), draw.randrange(3)
    name = draw.choice([k for k in rows[row] if k in valid.layout.fields or k == valid.layout.answer_field])
    rows[row] = Twice(rows[row], name, draw.choice(["A", "other", 1, None]))
    return Mutant("field: key twice", name, valid.files(rows, row), row, refused=True)


def unread(valid: Valid, draw: Random) -> Mutant:
    """A field that nobody reads holds anything: nothing may change."""
    rows, row = valid.rows(), draw.randrange(3)
    rows[row][UNREAD] = draw.choice([v for v in HOSTILE if not _cannot_be_written(valid, v)])
    if valid.layout.file.endswith("parquet"):
        rows = [r | {UNREAD: 5} for r in rows]
    return Mutant("field: unread", f"{rows[row][UNREAD]!r:.40}", valid.files(rows, row), row, harmless=True)


def _cannot_be_written(valid: Valid, value: Any) -> bool:
    if valid.layout.file.endswith(("csv", "tsv")):
        no_cell = isinstance(value, str) and (len(value) > 100_000 or any("\ud800" <= c <= "\udfff" for c in value))
        return no_cell or not isinstance(value, (int, float, str))
    return False


def _changed(valid: Valid, kind: str, rows: list[Any], row: int, path: tuple[Any, ...], value: Any) -> Mutant:
    """What may come of it: the fields of the question that this one becomes, and options where they stand inside."""
    free = set(valid.layout.fields.get(str(path[0]), "").split())
    if path[0] == "qa":
        free = set(valid.layout.fields.get(str(path[2]) if len(path) > 2 else "", "").split()) or {"everything"}
    inside = "question" in free and "lines" in valid.layout.options_in
    told: frozenset[str] | None = None
    if inside:
        free, told = free | {"options", "answer"}, _anything(valid, row)
    if free & {"sample_id", "video"} or "everything" in free:
        free |= {"duration_s", "evidence_s", "subtitles"}
    if "duration_s" in free:
        free |= {"evidence_s", "subtitles"}
    files = valid.files(rows, row)
    return Mutant(kind, f"{'.'.join(map(str, path))}={value!r:.60}", files, row, frozenset(free), told)


def _anything(valid: Valid, row: int) -> frozenset[str]:
    return frozenset({valid.asked[row].options[valid.asked[row].answer_index], "a", "b"})


def _leaves(valid: Valid, row: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Paths of everything that is read and is neither option nor answer."""
    found: list[tuple[Any, ...]] = []

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        dotted = ".".join(map(str, path))
        if dotted == valid.layout.answer_field or (path and path[0] in ("candidates", "options")):
            return
        if path and (dotted in valid.layout.fields or path[0] in valid.layout.fields or path[0] == "qa"):
            found.append(path)
        for key, inner in (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        ):
            walk(inner, (*path, key))

    walk(row, ())
    whole = {"conversations", "qa"}
    return [p for p in found if not (p[0] in whole and (len(p) < 3 or p[:2] == ("conversations", 1)))]


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _put(row: Any, path: tuple[Any, ...], value: Any) -> None:
    _at(row, path[:-1])[path[-1]] = value


# ---- files ----


def other_bytes(valid: Valid, draw: Random) -> Mutant | None:
    files = valid.files(valid.rows())
    name = valid.layout.file
    content, text = files[name], not name.endswith("parquet")
    at = draw.randrange(len(content))
    what = draw.choice(["BOM", "CRLF", "NUL", "0xff", "truncated", "empty", "utf-16", "another"])
    if what == "BOM" and text:
        files[name] = b"\xef\xbb\xbf" + content
        return Mutant("file: bytes", what, files, None, harmless=True)
    if what == "CRLF" and text:
        files[name] = content.replace(b"\n", b"\r\n") + b"\r\n"
        return Mutant(
            "file: bytes", what, files, None, harmless=not name.endswith(("csv", "tsv")) or b'"' not in content
        )
    changed = {
        "NUL": content[:at] + b"\0" + content[at:],
        "0xff": content[:at] + b"\xff" + content[at:],
        "truncated": content[:at],
        "empty": b"",
        "utf-16": content.decode("latin-1").encode("utf-16"),
        "another": b"\x89PNG\r\n" + content[:at],
    }
    if what not in changed:
        return None
    files[name] = changed[what]
    if text and what == "truncated":  # the last cell may be shorter, and further rows gone
        last = content[:at].count(b"\n") - (1 if name.endswith(("csv", "tsv")) else 0)
        row = max(0, min(2, last)) if name.endswith(("csv", "tsv", "jsonl")) else None
        return Mutant("file: truncated", f"at {at}", files, row, frozenset({"everything", "gone"}), _all(valid))
    return Mutant("file: bytes", f"{what} at {at}", files, None, frozenset({"gone", "cell"}), None)


def _all(valid: Valid) -> frozenset[str]:
    return frozenset(o for a in valid.asked for o in a.options)


def other_shape(valid: Valid, draw: Random) -> Mutant | None:
    """Rows that are none, or a file of another form."""
    rows, name, row = valid.rows(), valid.layout.file, draw.randrange(3)
    if name.endswith("parquet"):
        return None
    what = draw.choice(["odd row", "row twice", "top", "deep", "blank lines", "ragged", "digits", "header twice"])
    table = name.endswith(("csv", "tsv"))
    if what == "row twice" and "id" in " ".join(rows[row]):
        return Mutant("file: row twice", f"{row}", valid.files([*rows, copy.deepcopy(rows[row])]), row)
    if what == "odd row" and not table:
        rows[row] = draw.choice([None, 1, "row", [], ["a"], True, Raw("{'a': 1}"), Raw("{"), Raw("nul")])
        return Mutant("file: odd row", to_json(rows[row]), valid.files(rows), row, refused=True)
    files = valid.files(rows)
    content = files[name]
    if what == "blank lines":
        files[name] = content + b"\n\n"
        return Mutant("file: blank lines", "", files, None, harmless=True)
    if what == "ragged" and table:
        lines_ = content.split(b"\n")
        lines_[row + 1] += draw.choice([b",more\tmore", b"\tmore,more"]) if draw.random() < 0.5 else b""
        if lines_[row + 1] == content.split(b"\n")[row + 1]:
            lines_[row + 1] = lines_[row + 1].rpartition(b"\t" if name.endswith("tsv") else b",")[0]
        files[name] = b"\n".join(lines_)
        return Mutant("file: ragged row", f"{row}", files, row, refused=True)
    if what == "header twice" and table:
        first, _, rest = content.partition(b"\n")
        mark = b"\t" if name.endswith("tsv") else b","
        columns = first.split(mark)
        columns[-1] = columns[draw.randrange(len(columns) - 1)]
        files[name] = mark.join(columns) + b"\n" + rest
        return Mutant("file: header twice", columns[-1].decode(), files, None, frozenset({"gone"}), refused=True)
    if not table and what in ("top", "deep", "digits"):
        files[name] = {
            "top": draw.choice([b"{}", b"null", b"3", b'"text"', b'{"rows": []}', b"[[]]", b"\n"]),
            "deep": b"[" * draw.choice([500, 100_000]) + b"]" * 10,
            "digits": b"[" + b"9" * 6000 + b"]",
        }[what]
        return Mutant("file: top level", what, files, None, frozenset({"gone"}), refused=True)
    return None


def beside(valid: Valid, draw: Random) -> Mutant | None:
    """Something wrong in the subtitles, the spans or the names of files that lie beside."""
    others = valid.layout.beside()
    if not others:
        return None
    name = draw.choice(sorted(others))
    subtitled = re.search(r"subtitles/v(\d)", name)
    row: int | None = int(subtitled[1]) if subtitled else draw.randrange(3)
    value = draw.choice(HOSTILE + PATHS if name.startswith("map") else HOSTILE)
    content = others[name]
    if draw.random() < 0.1:
        others[name], row = str(value) if isinstance(content, str) else value, row if subtitled else None
    elif isinstance(content, str):
        others[name] = content.replace("00:00:01,000 --> 00:00:02,000", draw.choice(TIMES))
    elif isinstance(content, list):
        entry = draw.choice(content)
        entry[draw.choice(sorted(entry))] = value
    elif isinstance(content[f"v{row}"], dict):
        spans = {str(row): draw.choice([value, *SPANS])}
        key, new = draw.choice([("duration", value), ("location", value), ("location", spans)])
        content[f"v{row}"][key] = new
    else:
        content[f"v{row}"] = value
    free = frozenset({"subtitles"} if subtitled else {"duration_s", "evidence_s", "video"})
    return Mutant(
        "files beside", f"{name} {value!r:.60}", valid.files(valid.rows(), None, others), row, free | {"gone"}
    )


def _some(valid: Valid, draw: Random) -> tuple[int, Asked]:
    row = draw.randrange(len(valid.asked))
    return row, valid.asked[row]


KINDS: list[Callable[[Valid, Random], Mutant | None]] = [
    hole,
    deleted,
    shuffled,
    one_twice,
    letters_as_texts,
    too_many,
    other_letters,
    beside_differ,
    wrong_options,
    other_answer,
    other_answer,
    other_field,
    other_field,
    other_field,
    slow_text,
    path_field,
    path_field,
    missing_field,
    twice,
    unread,
    other_bytes,
    other_shape,
    beside,
    beside,
]
