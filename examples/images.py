"""Ask about images: a path, bytes, a PIL image or a data URL, in any mixture.

    python examples/images.py PHOTO.jpg [FORMAT] [MODEL]

It needs `pip install pillow`. Without arguments it draws a picture and asks the `echo` format, which only counts what
it was sent.
"""

import io
import sys

from PIL import Image

from lollms_client import LollmsClient


def main():
    """Describe the image named on the command line, or a drawn one."""
    if len(sys.argv) > 1:
        images = [sys.argv[1]]
    else:
        drawing = Image.new("RGB", (64, 64), "navy")
        buffer = io.BytesIO()
        drawing.save(buffer, "PNG")
        images = [drawing, buffer.getvalue()]
    format = sys.argv[2] if len(sys.argv) > 2 else "echo"
    model = sys.argv[3] if len(sys.argv) > 3 else None
    with LollmsClient(default_generation_mode=format, model_name=model) as client:
        answer = client.generate_with_images("Describe this image:", images)
        if isinstance(answer, dict):
            print(f"{answer['error']}\n{answer['hint']}")
        else:
            print(answer)


if __name__ == "__main__":
    main()
