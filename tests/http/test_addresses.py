"""Host names that are none are refused when they are read, not when they are looked up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core import ConfigurationError, LollmsClient
from lollms_core.http import Address


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("my..server", "is empty, or too long"),
        (".server", "is empty, or too long"),
        ("..", "is empty, or too long"),
        (f"{'a' * 64}.test", "is empty, or too long"),
        (".".join(["a" * 60] * 5), "is empty, or too long"),
        ("*", "a character that no host name has"),
        ("a*b.test", "a character that no host name has"),
        ("a b", "spaces"),
        ("b\u00fc\u00fc..de", "cannot be written in ASCII"),
        ("\u00fc" * 70, "cannot be written in ASCII"),
    ],
)
def test_what_is_no_host_name(host, why):
    with LollmsClient(host_address=f"http://{host}:9600", raise_errors=True, max_retries=0) as client:
        with pytest.raises(ConfigurationError, match=why):
            client.generate("hi")


@pytest.mark.parametrize(
    "host",
    ["localhost", "my_server", "a.b-c.test", "example.org.", "127.0.0.1", "[::1]", "b\u00fccher.de", "\u4f8b\u3048.jp"],
)
def test_what_is_one(host):
    assert Address.parse(f"http://{host}").host == host.strip("[]")


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_a_clear_error(text):
    try:
        Address.parse(text).host.encode("idna")
    except ConfigurationError as error:
        assert "is not a server address" in str(error)  # noqa: PT017
