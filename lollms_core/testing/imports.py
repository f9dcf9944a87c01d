"""What a package imports of the core that is not meant to be imported.

    $ python -m lollms_core.testing.imports lollms_whatever
    lollms_whatever/backend.py:3: lollms_core._client.registry is private

What begins with an underscore may change in any release; everything else in `lollms_core` is public.
"""

from __future__ import annotations

import sys

from lollms_core.testing._imports import private_imports

__all__ = ["private_imports"]


def _main() -> int:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.stderr.write(
            "Usage: python -m lollms_core.testing.imports PACKAGE…\n\n"
            "Say where packages import what is private in lollms_core. Example:\n"
            "  python -m lollms_core.testing.imports lollms_whatever\n\n"
            "Exit status: 0 nowhere, 1 somewhere, 2 wrong usage.\n"
        )
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    try:
        found = [line for package in sys.argv[1:] for line in private_imports(package)]
    except (ModuleNotFoundError, SyntaxError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(_main())
