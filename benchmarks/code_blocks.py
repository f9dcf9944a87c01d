"""Code blocks: agreement with CommonMark on real documents, and speed on long answers.

The documents are the Markdown files of the installed packages, or those below the folders given as arguments. The
reference is markdown-it-py with its CommonMark preset. The speed is in megabytes per second of CPU time, the best of
several runs. If the `lollms-client` distribution of the first generation is importable, its numbers stand beside ours:

    python benchmarks/code_blocks.py [FOLDER ...]
"""

from __future__ import annotations

import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

from markdown_it import MarkdownIt

from lollms_core.text import extract_code_blocks

Extract = Callable[[str], list[str]]
"""A text to the contents of its code blocks, without line ends around them."""


def ours(text: str) -> list[str]:
    return [block["content"].strip() for block in extract_code_blocks(text)]


def commonmark(text: str) -> list[str]:
    parser = MarkdownIt("commonmark", {"maxNesting": 500})
    parser.core.ruler.disable(["inline", "text_join"])
    return [token.content.strip() for token in parser.parse(text) if token.type == "fence"]


def first_generation() -> Extract | None:
    try:
        from lollms_client.lollms_text_processing import LollmsTextProcessor
    except ImportError:
        return None
    processor = LollmsTextProcessor.__new__(LollmsTextProcessor)
    return lambda text: [block["content"].strip() for block in processor.extract_code_blocks(text)]


def documents(folders: list[Path]) -> list[str]:
    """Those that have a fence in them, each once."""
    texts: dict[str, None] = {}
    for folder in folders:
        for path in sorted([*folder.rglob("*.md"), *folder.rglob("*.markdown"), *folder.rglob("METADATA")]):
            text = path.read_bytes().decode("utf-8", "replace").replace("\0", "") if path.is_file() else ""
            if len(text) < 1_000_000 and ("```" in text or "~~~" in text):
                texts[text] = None
    return list(texts)


PROSE = """\
Here is how you can do this. The function first reads the configuration, then it opens a connection to the server and
finally sends the request. If something goes wrong, an exception is raised, and the `retry` helper tries again.

"""
CODE = '''\
```python
import json
from pathlib import Path


def load(path: Path) -> dict[str, int]:
    """Read the settings of a project from a file."""
    with path.open() as file:
        data = json.load(file)
    for key, value in data.items():
        if not isinstance(value, int):
            raise TypeError(f"{key} is not a number: {value!r}")
    return data


class Server:
    def __init__(self, host: str, port: int = 8080) -> None:
        self.host = host
        self.port = port

    def url(self, path: str) -> str:
        return f"http://{self.host}:{self.port}/{path.lstrip('/')}"
```

'''
STEPS = """\
1. **Install** the package with pip:

   ```bash
   pip install requests
   export TOKEN=abc
   ```

2. Then run it. Some more words about what happens here, and why it is that way.

- a point that matters
- another one

"""
ANSWERS = {
    "prose and code": f"## A title\n\n{PROSE}{PROSE}**server.py**\n\n{CODE}" * 400,
    "code": CODE * 600,
    "code in lists too": f"## A title\n\n{PROSE}{PROSE}{STEPS}{CODE}" * 300,
    "prose": PROSE * 2000,
}


def megabytes_per_second(extract: Extract, text: str) -> float:
    times = []
    for _ in range(9):
        begin = time.process_time()
        extract(text)
        times.append(time.process_time() - begin)
    return len(text.encode()) / 1e6 / min(times)


def main() -> None:
    folders = [Path(argument) for argument in sys.argv[1:]] or [Path(sysconfig.get_path("purelib"))]
    texts = documents(folders)
    expected = [commonmark(text) for text in texts]
    parsers: dict[str, Extract] = {"lollms-core": ours}
    if (old := first_generation()) is not None:
        parsers["lollms-client"] = old
    print(f"{len(texts)} documents, {sum(map(len, expected))} blocks, {sum(map(len, texts)) / 1e6:.1f} MB")
    for name, extract in parsers.items():
        agreeing = sum(extract(text) == blocks for text, blocks in zip(texts, expected, strict=True))
        print(f"{name:14} agrees on {agreeing} documents ({100 * agreeing / max(1, len(texts)):.1f} %)")
    print(f"{'MB/s of CPU time':22}" + "".join(f"{name:>16}" for name in parsers))
    for title, text in {**ANSWERS, "the documents": "\n\n".join(texts[:50])}.items():
        print(f"{title:22}" + "".join(f"{megabytes_per_second(extract, text):16.0f}" for extract in parsers.values()))


if __name__ == "__main__":
    main()
