"""A hub on the loopback that takes the uploads of the real client, for tests."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
import transformers.utils.hub
from huggingface_hub import constants

_LARGE = (".safetensors", ".pt", ".pth", ".bin")
"""What the hub keeps as large files."""


class StandInHub:
    """One repository: its files after each commit."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.commits: list[tuple[str, dict[str, bytes]]] = []
        self.refused = ""
        """Commits whose message has this are answered with an error."""
        self.held = threading.Event()
        """Uploads wait until this is set."""
        self.held.set()
        self._large: dict[str, bytes] = {}

    def answer(self, method: str, path: str, body: bytes, url: str) -> tuple[int, Any]:
        """Status and JSON of a request."""
        if method == "PUT":
            self._large[path.rsplit("/", 1)[1]] = body
            return 200, {}
        if path == "/api/repos/create":
            return 200, {"url": f"{url}/me/{json.loads(body)['name']}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            self.held.wait(30)
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = ["lfs" if name.endswith(_LARGE) else "regular" for name in names]
            return 200, {
                "files": [
                    {"path": name, "uploadMode": mode, "shouldIgnore": False}
                    for name, mode in zip(names, modes, strict=True)
                ]
            }
        if path.endswith("/objects/batch"):
            asked = json.loads(body)["objects"]
            return 200, {
                "transfer": "basic",
                "objects": [
                    {**each, "actions": {"upload": {"href": f"{url}/large/{each['oid']}"}}}
                    for each in asked
                ],
            }
        if "/tree/" in path:
            return 200, [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in self.files.items()
            ]
        if "/commit/" in path:
            return self._commit([json.loads(line) for line in body.splitlines()], url)
        return 404, {"error": f"no such thing here: {method} {path}"}

    def _commit(self, lines: list[dict[str, Any]], url: str) -> tuple[int, Any]:
        (message,) = (line["value"]["summary"] for line in lines if line["key"] == "header")
        if self.refused and self.refused in message:
            return 403, {"error": "the storage of me is full"}
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                self.files[value["path"]] = self._large[value["oid"]]
            elif key == "deletedFile":
                del self.files[value["path"]]
        self.commits.append((message, dict(self.files)))
        oid = f"{len(self.commits):040x}"
        return 200, {"commitUrl": f"{url}/me/model/commit/{oid}", "commitOid": oid}


@contextmanager
def _served(hub: StandInHub) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self._body()
            path = unquote(urlsplit(self.path).path)
            status, value = hub.answer(self.command, path, body, f"http://{self.headers['Host']}")
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, *words: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """The hub that every client which is made from now on talks to."""
    standing = StandInHub()
    with _served(standing) as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        # Of the two ways to store large files, the one that needs no program of the hub's.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        monkeypatch.setattr(transformers.utils.hub, "_hf_api", huggingface_hub.HfApi(endpoint=url))
        yield standing
        standing.held.set()
