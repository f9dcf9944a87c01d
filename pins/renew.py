"""The exact versions that the environments of `pyproject.toml` install, as one file of pip constraints for each.

    hatch run pins:renew            # all of them, from the package index
    hatch run pins:renew vllm       # one
    hatch run pins:check            # without a network: do the files answer what is declared?

One file for all is not possible: the CPU build of vLLM wants an older transformers than the one that users get, and
`oldest` is about other versions by its nature. hatch's own lock files hold the addresses of what was downloaded, and of
this machine's disk; constraints hold names and versions only. They are those for the Python and the system that this
program runs on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PINS = Path(__file__).resolve().parent
ROOT = PINS.parent


def main() -> None:
    parser = argparse.ArgumentParser(description="Renew or check the pinned versions.")
    parser.add_argument("--check", action="store_true", help="compare the files with what is declared; change nothing")
    parser.add_argument("names", nargs="*", help="environments (default: all)", metavar="ENVIRONMENT")
    arguments = parser.parse_args()
    wanted = declared()
    for name in arguments.names or wanted:
        if not arguments.check:
            write(name, resolved(wanted[name]))
    problems = [problem for name in arguments.names or wanted for problem in differences(name, wanted[name])]
    if problems:
        sys.exit("\n".join([*problems, "Run `hatch run pins:renew`."]))
    if not arguments.check:
        print("Environments that exist keep what they have: `hatch env prune`, then run the tests.")


# --- what is declared -------------------------------------------------------------------------------------------------


def declared() -> dict[str, list[Requirement]]:
    """What each pinned environment asks for, that of its workspace members and build backend included."""
    environments = read(ROOT)["tool"]["hatch"]["envs"]
    wanted = {}
    for name, table in environments.items():
        if not table.get("detached"):
            table = {**environments["default"], **table}
        if "PIP_CONSTRAINT" in table.get("env-vars", {}):
            wanted[name] = list(requirements(table, lowest=name == "oldest"))
    return wanted


def requirements(table: dict[str, Any], *, lowest: bool) -> Iterator[Requirement]:
    members = [] if table.get("detached") else [ROOT, *paths(table.get("workspace", {}).get("members", []))]
    ours = {read(member)["project"]["name"] for member in members}
    for member in members:
        project = read(member)
        extras = table.get("features", []) if member == ROOT else []
        asked = list(project["project"].get("dependencies", []))
        asked += [text for extra in extras for text in project["project"]["optional-dependencies"][extra]]
        for requirement in map(Requirement, asked):
            if requirement.name not in ours:
                yield at_its_floor(requirement) if lowest else requirement
        yield from map(Requirement, project["build-system"]["requires"])
    yield from map(Requirement, table.get("dependencies", []))


def at_its_floor(requirement: Requirement) -> Requirement:
    """The oldest version that metadata promise to work with: `click>=8.2,<9` as `click==8.2`."""
    floors = [part.version for part in requirement.specifier if part.operator in (">=", "==", "~=")]
    if len(floors) != 1:
        sys.exit(f"{requirement} does not say from which version on it works")
    exact = Requirement(str(requirement))
    exact.specifier = type(exact.specifier)(f"=={floors[0]}")
    return exact


def paths(members: list[str]) -> Iterator[Path]:
    for member in members:
        yield from sorted(ROOT.glob(member))


def read(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))


# --- what is pinned ---------------------------------------------------------------------------------------------------


def resolved(wanted: list[Requirement]) -> dict[str, Version]:
    """The versions that pip would install into an empty environment. Installs nothing."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), *sorted({str(requirement) for requirement in wanted})]
        bound = ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT")
        unbound = {name: value for name, value in os.environ.items() if name not in bound}
        if subprocess.run(command, env=unbound).returncode:
            sys.exit("pip found no set of versions; nothing more is written.")
        found = json.loads(report.read_text("utf-8"))["install"]
    return {canonicalize_name(item["metadata"]["name"]): Version(item["metadata"]["version"]) for item in found}


def write(name: str, versions: dict[str, Version]) -> None:
    """Without local versions such as `+cpu`, which another machine's build of the same release would not satisfy."""
    header = "# Made by `hatch run pins:renew`, which looks up the newest versions again. Not to be edited.\n"
    lines = [f"{package}=={version.public}\n" for package, version in sorted(versions.items())]
    file(name).write_text(header + "".join(lines), encoding="utf-8")
    print(f"{file(name).relative_to(ROOT)}: {len(lines)} packages")


def differences(name: str, wanted: list[Requirement]) -> Iterator[str]:
    where = file(name).relative_to(ROOT)
    if not file(name).is_file():
        yield f"{where} is missing"
        return
    lines = file(name).read_text("utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        version = pinned.get(canonicalize_name(requirement.name), "in no version")
        if version not in requirement.specifier:
            yield f"{where} has {requirement.name} {version}, but {requirement} is declared"


def file(name: str) -> Path:
    return PINS / f"{name}.txt"


if __name__ == "__main__":
    main()
