"""A stub of both customer lists over loopback HTTP, in a process of its own: `python -m benchmarks.stub PORT`.

It does nothing but send pages that it made before, as fast or as slowly as it is told; so what is measured is ours.
`POST /_set {"size": …, "seconds": …, "changes": …}` says how many customers there are, how long a page takes, and how
often one in a thousand of them was renamed, each time others.
"""

import json
import sys
import threading
import time
import uuid
import zlib
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 500
OVERLAP = 0.8  # of AvePoint's rows are customers of Partner Center
BOM = b"\xef\xbb\xbf"

state: dict[str, Any] = {"size": 1000, "seconds": 0.0, "changes": 0}


def tenant_id(number: int) -> str:
    """Scattered, as real ones are, and the same in every run."""
    return str(uuid.UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << 128), version=4))


def name(number: int, changes: int) -> str:
    """Those that are renamed stand all over the list and the order of names; every fifth has an accent."""
    renamed = zlib.crc32(b"%d" % number) % 1000 < changes
    first = "Bäckerei" if number % 5 == 0 else "Bench"
    return f"{first} Customer {number:07d}{' renamed' if renamed else ''}"


@lru_cache(maxsize=1000)
def partner_center(start: int, size: int, changes: int) -> bytes:
    """A page as CONTRACT 2.4 has it, with the byte order mark."""
    items = [_partner_center_row(number, size, changes) for number in range(start, min(start + PAGE, size))]
    links: dict[str, Any] = {"self": {"uri": f"/customers?size={PAGE}", "method": "GET", "headers": []}}
    if start + PAGE < size:
        token = [{"key": "MS-ContinuationToken", "value": str(start + PAGE)}]
        uri = f"/customers?size={PAGE}&seekOperation=Next"
        links["next"] = {"uri": uri, "method": "GET", "headers": token}
    page = {"totalCount": len(items), "items": items, "links": links, "attributes": {"objectType": "Collection"}}
    return BOM + json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode()


def _partner_center_row(number: int, size: int, changes: int) -> dict[str, Any]:
    key = tenant_id(number)
    uri = f"/customers/{key}"
    return {
        "id": key,
        "companyProfile": {
            "tenantId": key,
            "domain": f"bench{number:07d}.onmicrosoft.example",
            "companyName": name(number, changes),
            "links": {"self": {"uri": f"{uri}/profiles/company", "method": "GET", "headers": []}},
            "attributes": {"objectType": "CustomerCompanyProfile"},
        },
        "relationshipToPartner": "reseller",
        "links": {"self": {"uri": uri, "method": "GET", "headers": []}},
        "attributes": {"objectType": "Customer"},
    }


COUNTRIES = ("Germany", "Italy", "Viet Nam", "United Kingdom", "Côte d'Ivoire")


@lru_cache(maxsize=1000)
def avepoint(start: int, size: int, changes: int, origin: str) -> bytes:
    """A page of AvePoint's list, with a next link where there is more."""
    shared = int(size * OVERLAP)
    numbers = range(start, min(start + PAGE, size))
    rows = [_avepoint_row(number if number < shared else number + 5_000_000, size) for number in numbers]
    page: dict[str, Any] = {"value": rows}
    if start + PAGE < size:
        page["@odata.nextLink"] = f"{origin}/partner/customers?$skiptoken={start + PAGE}"
    return json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode()


def _avepoint_row(number: int, size: int) -> dict[str, Any]:
    return {
        "id": tenant_id(number).upper(),
        "organization": name(number, 0),
        "ownerEmail": f"it{number}@bench{number:07d}.example",
        "jobStatus": "Working" if number % 50 else "Failed",
        "countryOrRegion": COUNTRIES[number % len(COUNTRIES)],
    }


class Stub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if state["seconds"]:
            time.sleep(state["seconds"])
        url = urlsplit(self.path)
        size, changes = state["size"], state["changes"]
        if url.path.startswith("/partner/customers"):
            start = int(parse_qs(url.query).get("$skiptoken", ["0"])[0])
            return self._send(avepoint(start, size, changes, f"https://{self.headers['Host']}"))
        return self._send(partner_center(int(self.headers.get("MS-ContinuationToken", "0")), size, changes))

    def do_POST(self) -> None:
        state.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._send(b"{}")

    def _send(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *args: Any) -> None:
        """Nothing is said about each page."""


def main() -> None:
    """Serve until whoever started us is gone."""
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # ends with whoever started us


if __name__ == "__main__":
    main()
