"""The few answers of the Hugging Face Hub that a push and a download need, from memory, on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """Repositories of one server, which are its ``repositories``: name -> path -> content."""

    server: Any

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.server.created.append(asked)
            self.server.repositories.setdefault(f"{asked['organization']}/{asked['name']}", {})
            self._json({"url": f"{self.server.address}/{asked['organization']}/{asked['name']}"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self._json({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif "/commit/" in self.path:
            stored = self.server.repositories[self._name()]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    stored[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{self.server.address}/{self._name()}/commit/{COMMIT}"
            self._json({"commitUrl": url, "commitOid": COMMIT, "success": True})
        else:
            self._json({}, 200)

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/"):
            stored = self.server.repositories.get(self._name())
            if stored is None:
                self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
                return
            if "/tree/" in self.path:
                oid = COMMIT
                self._json([{"type": "file", "path": p, "size": len(x), "oid": oid} for p, x in stored.items()])
                return
            about = {"id": self._name(), "sha": COMMIT, "private": True, "tags": [], "downloads": 0, "likes": 0}
            self._json({**about, "siblings": [{"rfilename": path} for path in stored]})
        else:
            name, _, path = self.path.lstrip("/").partition("/resolve/")
            content = self.server.repositories.get(name, {}).get(path.partition("/")[2])
            if content is None:
                self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            else:
                self._answer(content, "application/octet-stream")

    do_HEAD = do_GET

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def _name(self) -> str:
        return "/".join(self.path.split("/")[3:5])

    def _body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._answer(json.dumps(content).encode(), "application/json", status, headers)

    def _answer(self, content: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        etag = hashlib.sha256(content).hexdigest()
        fixed = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "ETag": f'"{etag}"',
            "X-Repo-Commit": COMMIT,
        }
        for name, value in {**fixed, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def running_hub() -> Iterator[Any]:
    """A server in a thread, with ``address``, ``repositories`` and ``created``."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    server.repositories, server.created = {}, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
