"""Through `LollmsClient`: sync and async callers, certificates, and what stays behind."""

from __future__ import annotations

import asyncio
import datetime
import gc
import ipaddress
import threading
import tracemalloc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lollms_core import ELF_COMPLETION_FORMAT, ELF_GENERATION_FORMAT, APIConnectionError, LollmsClient
from tests.litellm.conftest import KEY
from tests.litellm.stub import answer, delta, serving, text
from tests.support.waiting import PATIENCE, PATIENT, in_background, wait_until

ROUTES = [
    ("hosted_vllm/m", ELF_COMPLETION_FORMAT.Chat),
    ("openai/m", ELF_COMPLETION_FORMAT.Chat),
    ("hosted_vllm/m", ELF_COMPLETION_FORMAT.Instruct),
]
routes = pytest.mark.parametrize(("model", "kind"), ROUTES)


def client(address: str, model: str = "hosted_vllm/m", **settings: Any) -> LollmsClient:
    return LollmsClient(
        default_generation_mode=ELF_GENERATION_FORMAT.LITELLM,
        host_address=address,
        model_name=model,
        service_key=KEY,
        raise_errors=True,
        max_retries=0,
        timeouts=PATIENT,
        **settings,
    )


@routes
def test_sync_callers_from_several_threads(model: str, kind: ELF_COMPLETION_FORMAT) -> None:
    events = answer("one ", "two") if kind is ELF_COMPLETION_FORMAT.Chat else [text("one "), text("two", "stop")]
    answers: list[object] = []
    before = set(threading.enumerate())  # other tests may have left a loop's thread to clients of theirs
    with serving(events) as stub, client(stub.address, model) as lollms:

        def ask() -> None:
            answers.append(lollms.generate("hi", completion_format=kind))

        for call in [in_background(ask) for _ in range(8)]:
            call.result()
    assert answers == ["one two"] * 8
    begun = [t for t in threading.enumerate() if t not in before and t.name.startswith("lollms")]
    wait_until(lambda: not any(thread.is_alive() for thread in begun), "the threads to end")


def test_sync_stop_by_callback_closes_the_connection() -> None:
    with serving([delta(content="one "), delta(content="two "), "hang"]) as stub, client(stub.address) as lollms:
        told = lollms.generate("hi", streaming_callback=lambda chunk, _: chunk != "two ")
        assert told == "one two "
        assert stub.gone.wait(PATIENCE)


def test_sync_cancel_from_another_thread() -> None:
    with serving([delta(content="one "), "hang"]) as stub, client(stub.address) as lollms:
        arrived = threading.Event()

        answer = in_background(lambda: lollms.generate("hi", streaming_callback=lambda *_: arrived.set()))
        assert stub.waiting.wait(PATIENCE)
        assert arrived.wait(PATIENCE)
        lollms.cancel()
        assert answer.result() == "one "
        assert stub.gone.wait(PATIENCE)


async def test_many_at_once_in_one_loop() -> None:
    with serving(answer("a", "b")) as stub:
        lollms = client(stub.address)
        told = await asyncio.gather(*(lollms.agenerate("hi") for _ in range(16)))
        await lollms.aclose()
    assert told == ["ab"] * 16


@routes
def test_one_loop_after_another_takes_its_connections_along(model: str, kind: ELF_COMPLETION_FORMAT) -> None:
    events = answer("ab") if kind is ELF_COMPLETION_FORMAT.Chat else [text("ab", "stop")]
    with serving(events) as stub, client(stub.address, model) as lollms:
        port = urlsplit(stub.address).port

        def connections() -> int:
            found = psutil.Process().net_connections("tcp")
            return sum(c.status == psutil.CONN_ESTABLISHED and bool(c.raddr) and c.raddr.port == port for c in found)

        for _ in range(3):
            assert asyncio.run(lollms.agenerate("hi", completion_format=kind)) == "ab"
            wait_until(lambda: connections() == 0, "the loop's connections to close")
        assert lollms.generate("hi", completion_format=kind) == "ab"  # by the loop of the sync callers, which goes on
        assert connections() == 1
    wait_until(lambda: connections() == 0, "the client's connection to close")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder: Path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


@routes
def test_certificates(certificate: tuple[str, str], model: str, kind: ELF_COMPLETION_FORMAT) -> None:
    events = answer("safe") if kind is ELF_COMPLETION_FORMAT.Chat else [text("safe", "stop")]
    with serving(events, certificate=certificate) as stub:
        for verify in (False, certificate[0]):
            with client(stub.address, model, verify_ssl_certificate=verify) as lollms:
                assert lollms.generate("hi", completion_format=kind) == "safe"
            # One client's choice must not weaken another's.
            with client(stub.address, model) as strict, pytest.raises(APIConnectionError):
                strict.generate("hi", completion_format=kind)


def test_memory_stays_flat_while_streaming() -> None:
    with serving(answer(*["word "] * 20)) as stub, client(stub.address) as lollms:

        def many(calls: int) -> None:
            for _ in range(calls):
                lollms.generate("hi")
            stub.requests.clear()
            gc.collect()

        many(20)
        tracemalloc.start()
        try:
            many(10)
            first = tracemalloc.get_traced_memory()[0]
            many(40)
            grown = tracemalloc.get_traced_memory()[0] - first
        finally:
            tracemalloc.stop()
    # A chunk of LiteLLM's is over 1 kB: keeping those of the 40 calls would be 800 kB.
    assert grown < 100_000


def test_closing_from_within_a_running_loop_does_not_wait_for_it(caplog: pytest.LogCaptureFixture) -> None:
    async def main(address: str) -> object:
        with client(address) as lollms:
            return await lollms.agenerate("hi")

    with serving(answer("all of it")) as stub:
        assert asyncio.run(main(stub.address)) == "all of it"
    assert "did not end" not in caplog.text
