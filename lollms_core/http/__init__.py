"""HTTP for backends: values, decoders and drivers. The protocols are without IO; two small drivers move the bytes.

Importing this imports no HTTP library: the drivers load theirs on the first call.
"""

from lollms_core.http.address import Address, mask, refuse_bare_password
from lollms_core.http.embeddings import checked_vectors
from lollms_core.http.failures import answer_error, error_code, error_text, not_due, status_error
from lollms_core.http.messages import (
    Decoder,
    Exchange,
    Headers,
    HTTPRequest,
    HTTPResponse,
    StreamCall,
    excerpt,
    parse_json,
)
from lollms_core.http.ndjson import NDJSONDecoder
from lollms_core.http.sse import NamedEvent, SSEDecoder
from lollms_core.http.text import TextDecoder
from lollms_core.http.turns import Turns

__all__ = [
    "Address",
    "Decoder",
    "Exchange",
    "HTTPRequest",
    "HTTPResponse",
    "Headers",
    "NDJSONDecoder",
    "NamedEvent",
    "SSEDecoder",
    "StreamCall",
    "TextDecoder",
    "Turns",
    "answer_error",
    "checked_vectors",
    "error_code",
    "error_text",
    "excerpt",
    "mask",
    "not_due",
    "parse_json",
    "refuse_bare_password",
    "status_error",
]
