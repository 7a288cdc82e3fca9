"""What is pinned agrees with what is allowed, and the image leaves out nothing that git knows. Needs no network."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from recipes.launcher.guard import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]


def requirements() -> list[Requirement]:
    """What Kairos, its tests and its sharding ask for, on this machine."""
    extras = PROJECT["optional-dependencies"]
    all_of_them = [Requirement(text) for text in (*PROJECT["dependencies"], *extras["dev"], *extras["sharding"])]
    return [r for r in all_of_them if r.marker is None or r.marker.evaluate()]


def pinned() -> dict[str, Version]:
    return {canonicalize_name(name): Version(version) for name, version in (pin.split("==") for pin in PINS)}


def test_each_line_pins_one_version_that_any_index_may_have() -> None:
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in PINS)
    assert len(pinned()) == len(PINS)


def test_what_torch_brings_for_cuda_is_left_to_torch() -> None:
    assert not [pin for pin in PINS if re.match(r"nvidia-|cuda-|triton", pin)]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_a_pin_is_in_the_range_that_pyproject_allows(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    assert name in pinned(), f"constraints.txt does not pin {name}"
    assert requirement.specifier.contains(pinned()[name])


def test_makefile_and_image_install_the_pins() -> None:
    assert "CONSTRAINTS ?= constraints.txt" in (ROOT / "Makefile").read_text()
    installs = re.findall(r"pip install [^;&]*(?:torch|-e \.)[^;&]*", " ".join(words for _, words in instructions()))
    assert len(installs) == 3
    assert all("-c constraints.txt" in install for install in installs)


# ---- the image ----

KNOWN = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """Instruction and words of each step of the Dockerfile."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    steps = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [tuple(step.split(None, 1)) for step in steps]  # type: ignore[misc]


def test_the_dockerfile_is_well_formed() -> None:
    steps = instructions()
    assert {name for name, _ in steps} <= KNOWN
    assert [name for name, _ in steps][:2] == ["ARG", "FROM"]
    declared = {words.split("=")[0] for name, words in steps if name == "ARG"}
    used = set(re.findall(r"\$\{(\w+)\}", " ".join(words for _, words in steps)))
    assert used <= declared
    for name, words in steps:
        if name in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(word, str) for word in json.loads(words))
        if name == "RUN":
            subprocess.run(["sh", "-n", "-c", words], check=True)


def test_it_runs_lightning_and_not_as_root() -> None:
    steps = instructions()
    assert [words for name, words in steps if name == "USER"] == ["kairos"]
    assert steps[-3:] == [("USER", "kairos"), ("ENTRYPOINT", '["lightning"]'), ("CMD", '["--help"]')]
    assert "lightning" in PROJECT["scripts"]
    (python,) = [words.split("=")[1] for name, words in steps if name == "ARG" and words.startswith("PYTHON")]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)


def test_nothing_that_git_knows_stays_out_of_the_image() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this copy is not a checkout of git")
    for file in done.stdout.splitlines():
        for pattern in patterns:  # of the top folder, unless it begins with **/
            places = file.split("/") if pattern.startswith("**/") else file.split("/")[:1]
            assert not fnmatch.filter(places, pattern.removeprefix("**/")), f"{file} is left out by {pattern}"
