"""HTTP for backends: values, decoders and drivers. The protocols are without IO; two small drivers move the bytes.

Importing this imports no HTTP library: the drivers load theirs on the first call.
"""

from lollms_core.http._address import Address, mask, refuse_bare_password
from lollms_core.http._backend import HTTPBackend, HTTPStream
from lollms_core.http._embeddings import checked_vectors, one_length
from lollms_core.http._exchange import (
    Decoder,
    Exchange,
    Headers,
    HTTPRequest,
    HTTPResponse,
    StreamCall,
    excerpt,
    parse_json,
)
from lollms_core.http._failures import (
    answer_error,
    error_code,
    error_text,
    html_error,
    not_due,
    retry_after,
    status_error,
)
from lollms_core.http._ndjson import NDJSONDecoder
from lollms_core.http._retry import Retries
from lollms_core.http._secrets import Secrets, decoded
from lollms_core.http._shapes import shown, wrong_shape
from lollms_core.http._sse import NamedEvent, SSEDecoder
from lollms_core.http._text import TextDecoder
from lollms_core.http._turns import Turns
from lollms_core.http._wire import prepared_headers

__all__ = [
    "Address",
    "Decoder",
    "Exchange",
    "HTTPBackend",
    "HTTPRequest",
    "HTTPResponse",
    "HTTPStream",
    "Headers",
    "NDJSONDecoder",
    "NamedEvent",
    "Retries",
    "SSEDecoder",
    "Secrets",
    "StreamCall",
    "TextDecoder",
    "Turns",
    "answer_error",
    "checked_vectors",
    "decoded",
    "error_code",
    "error_text",
    "excerpt",
    "html_error",
    "mask",
    "not_due",
    "one_length",
    "parse_json",
    "prepared_headers",
    "refuse_bare_password",
    "retry_after",
    "shown",
    "status_error",
    "wrong_shape",
]
