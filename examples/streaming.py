"""Four ways to receive an answer while it is written: callback, iterator, async iterator, and stopping half-way.

The `echo` format answers with a script, so this runs without a model. Choose another format to talk to one.
"""

import asyncio

from lollms_client import MSG_TYPE, LollmsClient


def main():
    """Show each way in turn."""
    with LollmsClient(
        default_generation_mode="echo",
        reasoning=["France… ", "its capital…"],
        script=["The capital ", "of France ", "is Paris.", "\nIt has ", "two million ", "inhabitants."],
    ) as client:
        print("--- callback")
        client.generate("The capital of France?", streaming_callback=show)

        print("\n--- iterator")
        for chunk in client.stream("The capital of France?"):
            if chunk.is_answer:
                print(chunk.text, end="")
        print(f"\n[{chunk.finish_reason}, {chunk.usage.completion_tokens} tokens]")

        print("--- async iterator")
        asyncio.run(show_async(client))

        print("--- stopping after the first line")
        received = []

        def first_line_only(piece, msg_type):
            received.append(piece)
            return "\n" not in piece

        answer = client.generate("The capital of France?", streaming_callback=first_line_only)
        print(repr(answer))


def show(piece, msg_type):
    """Print a piece; reasoning goes into brackets."""
    print(f"({piece})" if msg_type is MSG_TYPE.MSG_TYPE_REASONING else piece, end="", flush=True)


async def show_async(client):
    """Print the answer from async code."""
    async for chunk in client.astream("The capital of France?"):
        if chunk.is_answer:
            print(chunk.text, end="")
    print()


if __name__ == "__main__":
    main()
