"""`python -m lollms_core.cli`: the `lollms` command."""

from lollms_core.cli import main

main()
