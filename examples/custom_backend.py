"""A backend of your own, in six lines, and how the client treats it like any other.

A package makes it known to everybody with a few lines in its `pyproject.toml`:

    [project]
    name = "lollms-shout"
    version = "1.0"
    [project.entry-points."lollms.backends"]
    shout = "lollms_shout:ShoutBackend"

This file plays that package: it writes the module and its metadata into a folder, as an installer would.
"""

import sys
import tempfile
from pathlib import Path

from lollms_client import LollmsClient, installed_formats

MODULE = """
from lollms_core import Backend, Chunk, hookimpl

class ShoutBackend(Backend):
    @hookimpl
    def generate(self, request):
        for word in request.prompt.split():
            yield Chunk(word.upper() + " ")
"""


def install(site):
    """Write what `pip install lollms-shout` would write."""
    (site / "lollms_shout.py").write_text(MODULE)
    info = site / "lollms_shout-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lollms-shout\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lollms.backends]\nshout = lollms_shout:ShoutBackend\n")


def main():
    """Install the backend into a temporary folder and use it."""
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        sys.path.insert(0, folder)
        print("installed:", installed_formats()["shout"].distribution)
        with LollmsClient(default_generation_mode="shout") as client:
            print(client.generate("hello world"))
            for chunk in client.stream("one piece at a time"):
                print(repr(chunk.text))


if __name__ == "__main__":
    main()
