"""Puts a genuine AWS agent in the place of ours: writes its configuration and gives it the TLS it insists on.

`python genuine.py /path/to/amazon-ssm-agent` copies the binary's folder into the instance's home (the agent reads
`configuration/` beside its binaries), makes a certificate authority for this instance alone, relays TLS on 127.0.0.1
to the sandbox's endpoint, and runs the agent until it ends. The agent takes identity and credentials from IMDS.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import ssl
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"
VALID_DAYS = 30
AGAIN_SECONDS = 2.0  # the metadata service may listen a moment after us; the agent gives up after three tries


def configuration(port: int) -> dict[str, Any]:
    """The agent's configuration: every endpoint is the relay's, and the instance is an EC2 instance."""
    endpoint = {"Endpoint": f"{HOST}:{port}"}
    return {
        "Mds": dict(endpoint),
        "Ssm": dict(endpoint),
        "Mgs": dict(endpoint),
        "S3": dict(endpoint),
        "Identity": {"ConsumptionOrder": ["EC2"]},
    }


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority: (file of the certificate, file with its key, too)."""
    from cryptography import x509  # noqa: PLC0415 - only where a genuine agent runs
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "runctl sandbox")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, both = folder / "ca.pem", folder / "server.pem"
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    public.write_bytes(pem)
    both.touch(mode=0o600)
    both.write_bytes(
        pem
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return public, both


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(256 * 1024):
            writer.write(piece)
            await writer.drain()
    writer.close()


async def relay(endpoint: str, certificate: Path) -> asyncio.Server:
    """A TLS listener on a free port of 127.0.0.1 whose bytes go to `endpoint` as they are, and back."""
    target = urlsplit(endpoint)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, forth = await asyncio.open_connection(target.hostname, target.port or 80)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, forth), _copy(back, writer))

    return await asyncio.start_server(carry, HOST, 0, ssl=context)


def install(binary: Path, home: Path, port: int) -> Path:
    """Copy the agent's folder and write its configuration; the binary to run. Raises OSError."""
    folder = home / ".ssm-agent" / "genuine"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for each in binary.parent.glob("*ssm*"):  # the agent starts its workers from its own folder
        if each.is_file():
            shutil.copy2(each, folder / each.name)
    (folder / "configuration").mkdir()
    written = folder / "configuration" / "amazon-ssm-agent.json"
    written.write_text(json.dumps(configuration(port), indent=2), encoding="utf-8")
    return folder / binary.name


async def run(binary: Path, home: Path, endpoint: str) -> int:
    """Run the agent until it ends or we are told to. Raises OSError when it cannot be installed."""
    keys = home / ".ssm-agent" / "tls"
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    public, both = make_certificate(keys)
    server = await relay(endpoint, both)
    installed = install(binary, home, server.sockets[0].getsockname()[1])
    # AWS_ENDPOINT_URL is for the SDKs of the commands it runs; the agent itself reads its configuration
    environment = {**os.environ, "SSL_CERT_FILE": str(public)}
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    code = 0
    while not told.is_set():
        agent = await asyncio.create_subprocess_exec(str(installed), cwd=installed.parent, env=environment)
        ended, asked = asyncio.ensure_future(agent.wait()), asyncio.ensure_future(told.wait())
        await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            agent.terminate()
        code = await ended
        if not told.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asked, AGAIN_SECONDS)
        asked.cancel()
    server.close()
    return code


def main() -> int:
    """Run the agent named by the one argument."""
    if len(sys.argv) != 2 or "AWS_ENDPOINT_URL" not in os.environ:
        sys.stderr.write("usage: AWS_ENDPOINT_URL=http://... genuine.py /path/to/amazon-ssm-agent\n")
        return 2
    home = Path(os.environ.get("HOME") or "/root")
    return asyncio.run(run(Path(sys.argv[1]), home, os.environ["AWS_ENDPOINT_URL"]))


if __name__ == "__main__":
    sys.exit(main())
