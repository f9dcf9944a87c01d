"""What can be said about a format without importing anything: what pip has recorded, and what lies in the folders."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from importlib import metadata

from lollms_core._cli.doctor_checks import Finding
from lollms_core._client.registry import FormatInfo, format_owners

__all__ = ["duplicates", "look_at", "missing_module"]

_UNKNOWN = "unknown"
"""The package of a format whose metadata cannot be read."""


def look_at(info: FormatInfo, *, versions: bool = True) -> Finding:
    """Whether the package of a format, and all that it needs, is installed; and in versions that fit, if asked."""
    if problem := missing_module(info):
        how = "" if info.distribution == _UNKNOWN else f": `pip install --force-reinstall {info.distribution}`"
        return Finding("broken", problem, f"Reinstall it{how}.")
    if unmet := list(_unmet(info.distribution, versions)):
        return Finding(
            "broken",
            f"it needs {' and '.join(unmet)}",
            f"Install what is missing: `pip install --upgrade {info.distribution}`.",
        )
    return Finding("installed", f"`lollms doctor {info.name}` asks it")


def missing_module(info: FormatInfo) -> str:
    """What is wrong with the module of a format; empty if it is where it should be."""
    module = info.target.partition(":")[0].partition(".")[0]
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    return "" if found else f"the module {module} of {info.distribution} is missing"


def _unmet(distribution: str, versions: bool) -> Iterator[str]:
    """The requirements of a distribution that are not installed, or not in a version that fits."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import InvalidVersion

    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:  # the core itself, run from a folder
        return
    except UnicodeDecodeError:
        return
    for line in lines:
        try:
            wanted = Requirement(line)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            there = metadata.version(wanted.name)
            if versions and not wanted.specifier.contains(there, prereleases=True):
                yield f"{wanted.name}{wanted.specifier} ({there} is installed)"
        except metadata.PackageNotFoundError:
            yield f"{wanted.name} (not installed)"
        except (InvalidRequirement, InvalidVersion):  # written by somebody for whom pip does not mind
            continue
        except (UnicodeDecodeError, TypeError, KeyError):  # it is there, and does not say in which version
            continue


def duplicates() -> dict[str, list[str]]:
    """The formats that several distributions provide, with these; the first of them is the one that is used."""
    named = {_UNKNOWN: "an unknown package"}
    return {
        format: [named.get(name, name) for name in names] for format, names in format_owners().items() if len(names) > 1
    }
