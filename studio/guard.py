"""Who may ask, and how much they may send. Everything here is settled before a route sees the request.

A page of another site can make a browser send requests to 127.0.0.1, and can point its own name there (DNS rebinding). So the
Host must be ours, what changes something must come from our own page, and no answer carries a header that lets others read it.
"""
import asyncio
import hmac
import ipaddress
from http.cookies import SimpleCookie
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse

COOKIE = "iidm_studio"
SLOWEST = 20.0                        # seconds for a whole body
AT_ONCE = 8                           # bodies read at a time: they lie in memory
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin", "X-Frame-Options": "DENY"}


class Refused(Exception):
    """A request that gets a status and one line."""

    def __init__(self, status, line):
        super().__init__(line)
        self.status, self.line = status, line

    def response(self):
        """The answer; the connection ends with it, since nobody wants the rest of the body."""
        return JSONResponse({"error": self.line}, self.status, {"Connection": "close"})


class Guard:
    """ASGI middleware: Host, token and Origin; security headers on every answer; a Refused in any route becomes its answer.

    hosts: names that a Host header may have; port: ours; token: what everybody has to know, or None.
    """

    def __init__(self, app, hosts, port, token=None):
        self.app, self.hosts, self.port, self.token = app, {host.lower() for host in hosts}, port, token

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send) if scope["type"] == "lifespan" else None
        started = False

        async def guarded(message):
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                names = {name.lower() for name, _ in message["headers"]}
                message = {**message, "headers": [*message["headers"], *(
                    (name.lower().encode(), value.encode()) for name, value in HEADERS.items())]}
                if b"cache-control" not in names:
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        try:
            answer = self.check(scope)
            await (answer or self.app)(scope, receive, guarded)
        except Refused as refused:
            if started:
                raise
            await refused.response()(scope, receive, guarded)

    def check(self, scope):
        """Raises Refused; a response to give instead of the route's, or None."""
        headers = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        host = self.host(headers.get("host", []))
        answer = self.knows(scope, headers) if self.token else None
        origins = headers.get("origin", [])
        if origins and origins != [f"http://{host}"]:
            raise Refused(403, "origin: found another site's page, expected this server's own")
        if headers.get("sec-fetch-site", ["same-origin"])[0] not in ("same-origin", "none") and scope["path"] != "/":
            raise Refused(403, "sec-fetch-site: found another site's page, expected this server's own")
        return answer

    def host(self, values):
        """The Host header, when it is one of ours."""
        if len(values) != 1:
            raise Refused(400, f"host: found {len(values)} Host headers, expected one")
        value = values[0].lower()
        name, _, port = value.rpartition(":") if not value.endswith("]") and ":" in value else (value, "", "80")
        if port == str(self.port) and (name in self.hosts or "*" in self.hosts and is_address(name)):
            return value
        raise Refused(400, "host: found a foreign Host header, expected the address that the server printed")

    def knows(self, scope, headers):
        """Checks the token, in the address (then it goes into a cookie), in the cookie, or as a bearer."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and self.right(given):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict", max_age=30 * 86400)
            return answer
        bearer = headers.get("authorization", [""])[0]
        if bearer.startswith("Bearer ") and self.right(bearer[7:]):
            return None
        try:
            cookie = SimpleCookie("; ".join(headers.get("cookie", []))).get(COOKIE)
        except Exception:                                              # http.cookies raises what it likes on junk
            cookie = None
        if cookie is None or not self.right(cookie.value):
            raise Refused(401, "token: expected the address with ?token= that the server printed")
        return None

    def right(self, given):
        """Whether that is the token; in the same time whatever it is."""
        return hmac.compare_digest(given.encode(), self.token.encode())


def is_address(name):
    """Whether a Host names an address: those cannot be rebound, names can."""
    try:
        return bool(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return False


def is_loopback(name):
    """Whether an address to listen at is this machine's own only."""
    return name == "localhost" or is_address(name) and ipaddress.ip_address(name).is_loopback


class Bodies:
    """Reads request bodies with limits on the stream itself: bytes, seconds, and how many at a time."""

    def __init__(self):
        self.reading = 0

    async def read(self, request, limit, types):
        """The body of a request. Raises Refused: 415 for another type, 413, 408, and 429 when too many are sent at once."""
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind not in types:
            raise Refused(415, f"content-type: found {kind[:60] or 'none'}, expected {' or '.join(types)}")
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > limit:
            raise Refused(413, f"body: found {int(length)} bytes, expected at most {limit}")
        if self.reading >= AT_ONCE:
            raise Refused(429, "too many uploads at once, try again in a moment")
        self.reading += 1
        try:
            return await asyncio.wait_for(self._whole(request, limit), SLOWEST)
        except asyncio.TimeoutError:
            raise Refused(408, f"body: not whole after {SLOWEST:.0f} s") from None
        except ClientDisconnect:
            raise Refused(400, "body: the sender hung up") from None   # nobody hears it
        finally:
            self.reading -= 1

    async def _whole(self, request, limit):
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise Refused(413, f"body: found more than {limit} bytes, expected at most {limit}")
            parts.append(part)
        return b"".join(parts)
