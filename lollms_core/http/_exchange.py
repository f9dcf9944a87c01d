"""What a protocol and a driver say to each other. No IO here.

A protocol describes a request and decodes the answer; a driver, sync or async, moves the bytes. A protocol that must
ask something first is a generator, an `Exchange`: it yields a request and is sent the response.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast

from lollms_core.contract.errors import ContractError, ProtocolError, a_kind
from lollms_core.contract.types import Chunk, Timeouts
from lollms_core.http._turns import Turns

__all__ = [
    "Decoder",
    "Exchange",
    "HTTPRequest",
    "HTTPResponse",
    "Headers",
    "StreamCall",
    "broken",
    "checked_call",
    "checked_headers",
    "checked_request",
    "excerpt",
    "parse_json",
    "wrong_value",
]

T = TypeVar("T")

_EXCERPT = 200
_raw_decode = json.JSONDecoder().raw_decode


class Headers(Mapping[str, str]):
    """Response headers; names are looked up in any case. Of a repeated name the last value is kept, of codings all."""

    __slots__ = ("_values",)

    def __init__(self, items: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, str] = {}
        for name, value in items.items() if isinstance(items, Mapping) else items:
            known = self._values.get(name := name.lower())
            self._values[name] = f"{known}, {value}" if known and name == "content-encoding" else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPRequest:
    """One request to the backend's server. `path` begins with a slash and is relative to the server's address."""

    method: str = "POST"
    path: str
    json: Any = None
    """The body, sent as compact JSON; `None` sends none."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Besides those of the backend. Not in the repr: they may carry keys."""
    timeouts: Timeouts | None = None
    """In place of the client's, for this request alone."""
    final: frozenset[int] = frozenset()
    """Statuses after which it is not repeated, though others of their kind pass: they would be there again."""


@dataclass(frozen=True, slots=True)
class HTTPResponse:
    """A whole response with a status below 400; anything else is raised as an error before a protocol sees it."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON. Raises `ProtocolError`, with an excerpt, if it is something else."""
        return parse_json(self.body, self.headers.get("content-type", ""))


class Decoder:
    """Turns the bytes of one streamed answer into chunks. Made anew for each answer.

    Both methods may be generators: chunks that come before an error are then delivered before it is raised.
    """

    finished: bool = False
    """Whether the protocol's own end mark has been seen, and all that there is has been given: `close` is not called.
    What follows is read, within limits, and thrown away."""
    cut: bool = False
    """Whether it is finished before the server is: the connection is closed at once."""
    whole: bool = False
    """Whether all of the answer has come, so that it counts however the connection ends. More may be said of it."""

    def feed(self, data: bytes) -> Iterable[Chunk]:
        """The chunks that these bytes complete; bytes may be split anywhere."""
        raise ContractError(f"{type(self).__name__} has no `feed`, which gives the chunks that some bytes complete")

    def close(self) -> Iterable[Chunk]:
        """The body has ended before `finished`; or the connection has broken, or a cancel has ended the wait for more.

        In the latter cases only text that was held back counts.

        Raises:
            IncompleteStreamError: the protocol has an end mark and it did not come.
        """
        raise ContractError(f"{type(self).__name__} has no `close`, which gives the chunks that were held back")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCall:
    """A request whose answer is read as a stream, and what makes its decoder from the response's headers."""

    request: HTTPRequest
    decoder: Callable[[Mapping[str, str]], Decoder]
    turns: Turns | None = None
    """For a server that ends one answer when another one ends: the calls that share this run one after another."""


Exchange: TypeAlias = Generator[HTTPRequest, HTTPResponse, T]
"""What yields requests and is sent responses; a `LollmsError` is thrown in where a request failed."""


def checked_request(
    request: Any, method: str, format: str, *, due: str = "an HTTPRequest", did: str = "gave"
) -> HTTPRequest:
    """`request`, which `method` of a format yielded or gave. Raises `ContractError` if it is none."""
    if not isinstance(request, HTTPRequest):
        raise wrong_value(request, due, method, format, did=did)
    path: Any = request.path
    if not isinstance(path, str):
        raise broken(f"{did} an HTTPRequest whose path is {a_kind(path)}, not a str", method, format)
    if not path.startswith("/"):
        known = excerpt(path.partition("?")[0])  # a query may have a key in it
        raise broken(f"{did} an HTTPRequest whose path {known!r} does not begin with a slash", method, format)
    for name, kinds, what in _OF_REQUEST:
        if not isinstance(value := getattr(request, name), kinds):
            raise broken(f"{did} an HTTPRequest whose {name} is {a_kind(value)}, not {what}", method, format)
    for named, said in request.headers.items():
        if not isinstance(cast("Any", named), str) or not isinstance(cast("Any", said), str):
            raise broken(f"{did} an HTTPRequest whose header {named!r} is {a_kind(said)}, not a str", method, format)
    return request


_OF_REQUEST: tuple[tuple[str, Any, str], ...] = (
    ("method", str, "a str"),
    ("headers", Mapping, "a mapping"),
    ("timeouts", (Timeouts, type(None)), "Timeouts or None"),
    ("final", (frozenset, set, tuple, list), "a set of statuses"),
)


def checked_headers(headers: Any, method: str, format: str) -> Mapping[str, str]:
    """`headers`, which `method` of a format gave. Raises `ContractError` for anything but texts by name."""
    if not isinstance(headers, Mapping):
        raise wrong_value(headers, "a dictionary of headers", method, format)
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            named = f"the header {name}" if isinstance(name, str) else "a header"
            raise broken(f"gave {named} that is not text", method, format)
    return headers


def checked_call(call: Any, method: str, format: str, *, due: str = "a StreamCall") -> StreamCall:
    """`call`, which `method` of a format gave. Raises `ContractError` if it is none, or if what is in it cannot be."""
    if not isinstance(call, StreamCall):
        raise wrong_value(call, due, method, format)
    request, decoder = cast("Any", call.request), cast("Any", call.decoder)
    if not isinstance(request, HTTPRequest):
        raise broken(f"gave a StreamCall whose request is {a_kind(request)}, not an HTTPRequest", method, format)
    checked_request(request, method, format)
    if not callable(decoder):
        problem = f"gave a StreamCall whose decoder is {a_kind(decoder)}, not a class or function that makes one"
        raise broken(problem, method, format)
    turns: Any = call.turns
    if turns is not None and not isinstance(turns, Turns):
        raise broken(
            f"gave a StreamCall whose turns are {a_kind(turns)}, not a Turns() kept for the server", method, format
        )
    return call


def wrong_value(value: Any, due: str, method: str, format: str, *, did: str = "gave") -> ContractError:
    """The error for a method of a format that gave a value in the place of what is due."""
    if inspect.iscoroutine(value):
        value.close()  # nobody will await it, of which Python would warn
    return broken(f"{did} {a_kind(value)} where {due} is due", method, format)


def broken(problem: str, method: str, format: str) -> ContractError:
    """The error for a method of a format that does not keep the contract; `problem` is the rest of the sentence."""
    return ContractError(f"`{method}` of the {format} format {problem}", format=format)


WEB_PAGE = "The address probably names a website or a proxy's error page: check host_address."
"""The hint where HTML comes in place of data."""


def parse_json(data: str | bytes, content_type: str = "") -> Any:
    """`data` as JSON. Raises `ProtocolError`, with an excerpt and the content type, if it is something else."""
    try:
        text = data if isinstance(data, str) else data.decode()
        try:
            value, end = _raw_decode(text)  # the cheap way; it refuses leading space and leaves a tail
            if end == len(text):
                return value
        except ValueError:
            pass
        return json.loads(text.removeprefix("\ufeff"))  # servers on Windows put a byte order mark in front
    except (ValueError, RecursionError):
        said = f" ({content_type})" if content_type else ""
        shown = excerpt(data)
        raise ProtocolError(
            f"the server's answer is not valid JSON{said}: {shown}" if shown else f"the server's answer is empty{said}",
            hint=WEB_PAGE if "text/html" in content_type else "",
        ) from None


def excerpt(data: str | bytes) -> str:
    """The beginning of a text for an error message: one line, printable, short."""
    raw = data[: 4 * _EXCERPT]
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"
