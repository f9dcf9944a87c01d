"""`python -m lollms_core`: the `lollms` command."""

from lollms_core._cli import main

main()
