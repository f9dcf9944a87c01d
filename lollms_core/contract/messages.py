"""Messages, and the parts that they are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from lollms_core.contract._surrogates import joined

__all__ = [
    "Image",
    "Message",
    "Part",
    "ProviderPart",
    "ReasoningPart",
    "Role",
    "TextPart",
    "ToolCall",
    "ToolResult",
]

P = TypeVar("P")

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """What a model thought before it answered."""

    text: str


class Image(NamedTuple):
    """A checked image: the bytes and their media type, or a URL that only a server may resolve."""

    data: bytes | None
    media_type: str | None
    url: str | None = None

    def __repr__(self) -> str:
        return f"Image({self.media_type}, {self.place if self.data is None else f'{len(self.data)} bytes'})"

    @property
    def place(self) -> str:
        """The URL without what may be a secret in it: user name, password and query."""
        scheme, _, rest = (self.url or "").partition("://")
        host, slash, path = rest.partition("?")[0].partition("#")[0].partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A function that a model wants to be called."""

    name: str
    arguments: Mapping[str, Any] | None = field(default_factory=dict)
    """`None` if `text` is no JSON object."""
    text: str = ""
    """The arguments as the model wrote them; empty if only the values are known."""
    id: str = ""
    """What its result is to name; empty for servers that give none."""

    def __post_init__(self) -> None:
        _check_texts(self, "a tool call", ("name", "text", "id"))
        if not isinstance(self.arguments, (Mapping, NoneType)):
            raise TypeError(f"the arguments of a tool call must be a dictionary, not {type(self.arguments).__name__}")
        if self.arguments and not self.text:
            try:
                self.as_text()
            except (TypeError, ValueError, RecursionError) as error:
                raise TypeError(f"the arguments of a tool call must be values that JSON has: {error}") from None

    @classmethod
    def from_text(cls, name: str, text: str, id: str = "") -> ToolCall:
        """A call whose arguments are JSON, as most protocols have them. An empty text is no arguments."""
        text = joined(text)
        try:
            value = json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError):
            value = None
        return cls(name=name, arguments=value if isinstance(value, dict) else None, text=text, id=id)

    def as_text(self) -> str:
        """The arguments as JSON: as the model wrote them, where that is known."""
        return self.text or json.dumps(dict(self.arguments or {}), ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a function gave."""

    text: str
    id: str = ""
    """The call's."""
    name: str = ""
    """The function's."""
    is_error: bool = False

    def __post_init__(self) -> None:
        _check_texts(self, "the result of a tool", ("text", "id", "name"))


@dataclass(frozen=True, slots=True)
class ProviderPart:
    """A part that only its provider understands, such as a signature: carried back as it came, and nowhere else."""

    data: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.data, Mapping):
            raise TypeError(f"the data of a ProviderPart must be a dictionary, not {type(self.data).__name__}")


def _check_texts(part: object, what: str, names: tuple[str, ...]) -> None:
    for name in names:
        if not isinstance(value := getattr(part, name), str):
            raise TypeError(f"the {name} of {what} must be a str, not {type(value).__name__}")


Part: TypeAlias = TextPart | ReasoningPart | Image | ToolCall | ToolResult | ProviderPart


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Message:
    """One message of a conversation.

    Message("user", "What is this?", [image]) and Message("user", [TextPart("What is this?"), image]) are the same.
    """

    role: Role
    parts: tuple[Part, ...]

    def __init__(self, role: Role, content: str | Iterable[Part] = "", images: Sequence[Image] = ()) -> None:
        """Raises `TypeError` for content that is neither text nor parts, and for images that are none."""
        if isinstance(content, str):
            parts: tuple[Part, ...] = (TextPart(content),) if content else ()
        elif isinstance(content, (bytes, Mapping)) or not isinstance(content, Iterable):
            raise TypeError(f"a message's content must be text or parts, not {type(content).__name__}")
        else:
            parts = tuple(content)
        if not isinstance(images, (tuple, list)) or not all(isinstance(image, Image) for image in images):
            raise TypeError(
                "the images of a Message must be a tuple of Image; lollms_core.images.load_images makes them of paths, "
                "bytes and addresses"
            )
        object.__setattr__(self, "role", role)
        object.__setattr__(self, "parts", (*parts, *images))

    def __repr__(self) -> str:
        one = self.parts[0].text if len(self.parts) == 1 and isinstance(self.parts[0], TextPart) else None
        return f"Message({self.role!r}, {one if one is not None else list(self.parts)!r})"

    @property
    def text(self) -> str:
        """Its text, without reasoning and without what tools gave. Texts that somebody put side by side are lines."""
        between = "" if self.role == "assistant" else "\n"
        return between.join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def reasoning(self) -> str:
        """What the model thought."""
        return "".join(part.text for part in self.parts if isinstance(part, ReasoningPart))

    @property
    def images(self) -> tuple[Image, ...]:
        """Its images, in order."""
        return self._all(Image)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The functions that the model wants to be called."""
        return self._all(ToolCall)

    @property
    def tool_results(self) -> tuple[ToolResult, ...]:
        """What functions gave."""
        return self._all(ToolResult)

    def _all(self, kind: type[P]) -> tuple[P, ...]:
        return tuple(part for part in self.parts if isinstance(part, kind))
