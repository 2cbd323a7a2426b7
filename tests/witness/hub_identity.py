"""What the hub knows of itself: certificate, identities, tokens, and the files it hands to its callers."""

import base64
import datetime
import hashlib
import hmac
import ipaddress
import os
import secrets
import ssl
import time
from pathlib import Path
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "localhost"
POLICY = "service"
PREFIX = "SharedAccessSignature "


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def sign(resource: str, expiry: str, key: str) -> str:
    """HMAC-SHA256 over the resource as the token has it, one LF and the expiry [D][S]."""
    message = f"{resource}\n{expiry}".encode()
    return base64.b64encode(hmac.digest(base64.b64decode(key), message, hashlib.sha256)).decode()


def verify_sas(token: str, key: str, resource: str, policy: str | None) -> str | None:
    """Say what is wrong with a token (section 1.3), over `sr` as received [S][M]; None when nothing is."""
    if not token.startswith(PREFIX):
        return f"the token does not begin {PREFIX!r} [S]"
    pairs = [field.partition("=") for field in token.removeprefix(PREFIX).split("&")]
    fields = {name: value for name, _, value in pairs}
    wanted = {"sr", "sig", "se"} | ({"skn"} if policy else set())
    if set(fields) != wanted or len(fields) != len(pairs):
        return f"the token's fields are {sorted(name for name, _, _ in pairs)}, not {sorted(wanted)} [D][S]"
    if policy and fields["skn"] != policy:
        return f"the token is of the policy {fields['skn']!r}"
    if resource not in (once := unquote(fields["sr"]), unquote(once), fields["sr"]):
        return f"the token is for {fields['sr']!r}, not {resource!r} [D]"
    if not fields["se"].isdecimal() or int(fields["se"]) <= time.time():
        return f"the token's expiry is {fields['se']!r} [D]"
    mac = sign(fields["sr"], fields["se"], key)
    if not hmac.compare_digest(unquote(fields["sig"]), mac):
        return "the token's signature is wrong"
    if "+" in fields["sig"] or "/" in fields["sig"] or "=" in fields["sig"]:
        return "the token's signature is not percent-encoded [D]"
    return None


def write_secret(path: Path, text: str | bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text.encode() if isinstance(text, str) else text)


def certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None
) -> x509.Certificate:
    """A CA when there is no issuer, else a server certificate for loopback."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_name, signer = issuer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    ca = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if ca:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        names = [
            x509.DNSName(HOST),
            *(x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", "::1")),
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
    return builder.sign(signer, hashes.SHA256())


def make_tls(directory: Path) -> ssl.SSLContext:
    """Make a CA (ca.pem) and a server certificate under it; give the server's TLS 1.2+ context [D]."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = certificate("iotstream witness CA", ca_key, None)
    leaf = certificate(HOST, key, (ca.subject, ca_key))
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_secret(directory / "server.pem", private + leaf.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / "server.pem")
    return context


def write_files(directory: Path, port: int, service_key: str, device_keys: dict[str, str]) -> None:
    """The files an emulator leaves for its callers; a device ID/MODULE is a module identity."""
    service = f"HostName={HOST}:{port};SharedAccessKeyName={POLICY};SharedAccessKey={service_key}"
    write_secret(directory / "service.conn", service)
    (directory / "devices").mkdir(exist_ok=True)
    for identity, key in device_keys.items():
        device, _, module = identity.partition("/")
        of_module = f"ModuleId={module};" if module else ""
        text = f"HostName={HOST}:{port};DeviceId={device};{of_module}SharedAccessKey={key}"
        write_secret(directory / "devices" / f"{quote(identity, safe='')}.conn", text)
    profile = f"""default = "hub"

[profile.hub]
connection-string = "{service}"
ca-file = "{directory / "ca.pem"}"
hosts = ["*.hub"]
"""
    write_secret(directory / "profiles.toml", profile)
