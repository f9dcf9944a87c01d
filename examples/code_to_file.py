"""Have a model write a program and save it to a file.

    python examples/code_to_file.py FILE.py "What it shall do" [FORMAT] [MODEL]

Without arguments the `echo` format plays the model, to show that an answer that was cut off is continued.
"""

import sys
import tempfile
from pathlib import Path

from lollms_client import LollmsClient


def main():
    """Generate code and write it."""
    if len(sys.argv) > 2:
        path, task = Path(sys.argv[1]), sys.argv[2]
        format = sys.argv[3] if len(sys.argv) > 3 else "lollms"
        client = LollmsClient(default_generation_mode=format, model_name=sys.argv[4] if len(sys.argv) > 4 else None)
    else:
        path, task = Path(tempfile.mkdtemp()) / "reverse.py", "Reverse a string."
        script = ["Here it is:\n", "```python\ndef reverse(text):\n", "    return text[::-1]\n", "```\n"]
        client = LollmsClient(default_generation_mode="echo", script=script)
    with client:
        code = client.generate_code(task, language="python")
    if isinstance(code, dict):
        sys.exit("\n".join(filter(None, [code["error"], code["hint"], code["partial_text"]])))
    path.write_text(code)
    print(f"{path.name}: {len(code.splitlines())} lines")


if __name__ == "__main__":
    main()
