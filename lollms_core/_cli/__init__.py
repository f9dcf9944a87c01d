"""The `lollms` command. `lollms --help` imports click and this package, and nothing of what the commands need."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command with the arguments of this process and exit with its status."""
    from lollms_core._cli.streams import prepare_streams

    prepare_streams()
    try:
        from lollms_core._cli.app import cli

        if os.environ.get("_LOLLMS_COMPLETE", "").startswith("bash"):
            from lollms_core._cli.bash_completion import register

            register()
        cli(prog_name="lollms")
    except KeyboardInterrupt:  # before any command had begun
        sys.exit(130)
    except OSError as error:  # the help cannot be written
        from lollms_core._cli.endings import ERROR, report_os_error

        report_os_error(error)
        sys.exit(ERROR)
    except SystemExit as end:
        _end(end)


def _end(end: SystemExit) -> None:
    from lollms_core._cli.interrupts import leave
    from lollms_core._cli.state import current_state

    if current_state().hurry and isinstance(end.code, int):
        leave(end.code)
    raise end
