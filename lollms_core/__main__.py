"""`python -m lollms_core`: the `lollms` command."""

from lollms_core.cli import main

main()
