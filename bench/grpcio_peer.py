"""Python grpcio as the other side of transfer.ts. It neither hashes nor writes: the transport alone.

serve [CERTIFICATE]                 prints its port, serves until stdin ends; CERTIFICATE is written, then used
upload PORT BYTES [CERTIFICATE]     prints the seconds from before connecting to the last byte's answer
download PORT BYTES [CERTIFICATE]
"""

import sys
import time
from concurrent import futures

import grpc

CHUNK = 1 << 20
SERVICE = "bench.Transfer"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def chunks(total):
    block = bytes(CHUNK)
    for at in range(0, total, CHUNK):
        yield block if total - at >= CHUNK else block[: total - at]


def take(requests, _context):
    return str(sum(len(request) for request in requests)).encode()


def give(request, _context):
    yield from chunks(int(request))


def make_certificate(path):
    """A key that only this server has, and its certificate, self-signed: P-256, which every TLS library speaks."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    certificate = builder.add_extension(here, False).sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    with open(path, "wb") as file:
        file.write(pem)
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain), pem


def serve(certificate):
    server = grpc.server(futures.ThreadPoolExecutor(4), options=OPTIONS)
    handlers = {
        "Upload": grpc.stream_unary_rpc_method_handler(take),
        "Download": grpc.unary_stream_rpc_method_handler(give),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if certificate:
        pair = make_certificate(certificate)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0)


def transfer(direction, port, total, certificate):
    address = f"127.0.0.1:{port}"
    start = time.perf_counter()
    if certificate:
        trusted = grpc.ssl_channel_credentials(open(certificate, "rb").read())
        channel = grpc.secure_channel(address, trusted, OPTIONS)
    else:
        channel = grpc.insecure_channel(address, OPTIONS)
    with channel:
        if direction == "upload":
            moved = int(channel.stream_unary(f"/{SERVICE}/Upload")(chunks(total)))
        else:
            moved = sum(len(piece) for piece in channel.unary_stream(f"/{SERVICE}/Download")(str(total).encode()))
        seconds = time.perf_counter() - start
    if moved != total:
        raise SystemExit(f"{moved} of {total} bytes were moved")
    print(seconds)


if sys.argv[1] == "serve":
    serve(sys.argv[2] if len(sys.argv) > 2 else None)
else:
    transfer(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None)
