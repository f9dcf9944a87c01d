"""The `lollms` command. `lollms --help` imports click and this package, and nothing of what the commands need."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command with the arguments of this process and exit with its status."""
    try:
        from lollms_core.cli.app import cli

        cli(prog_name="lollms")
    except KeyboardInterrupt:  # before any command had begun
        sys.exit(130)
