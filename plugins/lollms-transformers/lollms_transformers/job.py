"""What the engine and its batch hand to each other."""

from __future__ import annotations

from dataclasses import dataclass

from lollms_core import GenerationRequest
from lollms_core.mailbox import Mailbox

__all__ = ["Job"]


@dataclass(frozen=True, slots=True)
class Job:
    """A generation that waits for its place in the batch."""

    request: GenerationRequest
    mailbox: Mailbox
