"""docs/nginx.conf and docs/varnish.vcl: proxies of others before two front-ends."""

import os
import re
import time

from client import MIB, Connection, curl_code
from foreign import Daemon, program, run, write
from frontend import Frontend, clusters
from harness import Background, check, equal, scope, test, until
from load import Load
from node import free_port

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs")
KEYS = ["plain", "a/b//c", "with%20blank", "caf%C3%A9", "caf%c3%a9s", "q?x=1&y=2", "slash%2Fin", "%2E%2E", "a/%2e%2E/b", "dot./x",
        "percent%2525", "plus+plus", "semi;colon=1", "colon:8000", "tilde~(!*')", "quote%22", "x" * 3000]


def _ask(port, method, target, body=None, headers=()):
    with Connection(port) as connection:
        return connection.ask(method, target, body, headers)


def _values(port, refused=()):
    """Writes, reads and deletes through a proxy, keys of all kinds; those that it refuses itself get 400."""
    for key in refused:
        equal(_ask(port, "PUT", f"/{key}", b"x").status, 400, f"PUT of {key[:60]}")
    keys = [key for key in KEYS if key not in refused]
    for number, key in enumerate(keys):
        equal(_ask(port, "PUT", f"/{key}", b"%d" % number, ("Content-Type: text/x-odd",)).status, 200, f"PUT of {key[:60]}")
    for number, key in enumerate(keys):
        reply = _ask(port, "GET", f"/{key}")
        equal((reply.status, reply.body, reply.kind()), (200, b"%d" % number, "text/x-odd"), f"GET of {key[:60]}")
        head = _ask(port, "HEAD", f"/{key}")
        equal((head.status, head.etag()), (200, reply.etag()), f"HEAD of {key[:60]}")
        equal(_ask(port, "GET", f"/{key}", None, (f"If-None-Match: {reply.etag()}",)).status, 304, f"GET of {key[:60]} by its tag")
    for key in keys:
        reply = _ask(port, "DELETE", f"/{key}")
        equal(reply.status, 200, f"DELETE of {key[:60]}")
    equal(_ask(port, "GET", "/never").status, 204, "GET of a key that there never was")


def _large(port):
    value = os.urandom(3 * MIB)
    equal(_ask(port, "PUT", "/large", value).status, 200, "PUT of 3 MiB")
    check(_ask(port, "GET", "/large").body == value, "3 MiB came back as something else")
    equal(_ask(port, "PUT", "/empty", b"").status, 200, "PUT of an empty value")
    reply = _ask(port, "GET", "/empty")
    equal((reply.status, reply.body), (200, b""), "GET of an empty value")
    equal(_ask(port, "PUT", "/-/mine", b"x").status, 403, "PUT of a reserved key")


def _wait(port):
    """A held GET through the proxy is answered by the change."""
    waiting = Background(_ask, port, "GET", "/lamp", None, ("Prefer: wait=20", 'If-None-Match: "absent"'))
    time.sleep(0.2)
    started = time.monotonic()
    _ask(port, "PUT", "/lamp", b"on")
    equal(waiting.result().body, b"on", "what the held GET gives")
    check(time.monotonic() - started < 10, "the held GET was answered late")


class _Behind:
    """Two front-ends with two partitions behind them, and a port for the proxy."""

    def __init__(self):
        self.groups = clusters(2, 1)
        self.ports = [free_port(), free_port()]
        self.front_ends = [self.start(which) for which in range(2)]
        self.port = free_port()

    def start(self, which):
        """One of them."""
        return Frontend(self.groups, "--read-from", "home", listen=f"127.0.0.1:{self.ports[which]}")

    def filled(self, name, pattern, *more):
        """A file of the documents with these addresses; each (pattern, text) of `more` stands there once."""
        with open(os.path.join(DOCS, name), encoding="ascii") as file:
            text = file.read()
        text, count = re.subn(pattern, lambda found: found.group(0).replace(
            f"10.0.0.{found.group(1)}", "127.0.0.1").replace("8000", str(self.ports[int(found.group(1)) - 1])), text)
        equal(count, 2, "servers")
        for old, new in more:
            equal(text.count(old), 1, f"how often '{old}' stands in {name}")
            text = text.replace(old, new)
        return text


@test
def nginx_before_two_front_ends():
    binary = program("nginx", "nginx")
    behind = _Behind()
    text = behind.filled("nginx.conf", r"server 10\.0\.0\.(\d):8000", ("worker_processes auto", "worker_processes 1"),
                         ("listen 8000", f"listen 127.0.0.1:{behind.port}"))
    prefix = scope().directory()
    places = "".join(f"{what}_temp_path {prefix};\n" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    text = f"daemon off;\npid {prefix}/pid;\nerror_log stderr;\n" + text.replace("access_log off;", f"access_log off;\n{places}")
    if os.getuid() == 0:
        text = "user root;\n" + text
    nginx = Daemon(binary, "-p", prefix, "-e", "stderr", "-c", write("nginx.conf", text))
    until(lambda: curl_code(f"http://127.0.0.1:{behind.port}/-/ready", seconds=2) == 200, 10, f"nginx is up ({nginx.said()})")
    _values(behind.port, ("%2E%2E", "zero%00byte"))
    _large(behind.port)
    _wait(behind.port)

    def kept(connection, number):
        equal(connection.ask("PUT", f"/kept-{number % 40}", b"%d" % (number % 40)).status, 200, "the status of a write")
        equal(connection.ask("GET", f"/kept-{number % 40}").body, b"%d" % (number % 40), "the value")

    with Load(behind.port, kept) as load:
        load.pause(0.3)
        for end in ("terminate", "kill"):
            getattr(behind.front_ends[0], end)()
            load.pause(0.5)
            behind.front_ends[0] = behind.start(0)
            load.pause(0.3)


@test
def varnish_before_two_front_ends():
    binary = program("varnishd", "varnish")
    behind = _Behind()
    text = behind.filled("varnish.vcl", r'"10\.0\.0\.(\d)";\n    \.port = "8000"')
    place = scope().directory()
    varnish = Daemon(binary, "-F", "-j", "none", "-n", os.path.join(place, "v"), "-a", f"127.0.0.1:{behind.port}", "-s", "malloc,32m",
                     "-f", write("varnish.vcl", text), "-p", "thread_pool_min=10")
    until(lambda: curl_code(f"http://127.0.0.1:{behind.port}/-/ready", seconds=2) == 200, 20, f"Varnish is up ({varnish.said()})")
    _values(behind.port)
    _large(behind.port)
    _wait(behind.port)
    _ask(behind.port, "PUT", "/cached", b"old")
    equal(_ask(behind.port, "GET", "/cached").body, b"old", "a value")
    until(lambda: len(_ask(behind.port, "GET", "/cached").header("x-varnish").split()) == 2, 3, "Varnish answers out of its memory")
    _ask(behind.port, "PUT", "/cached", b"new")
    until(lambda: _ask(behind.port, "GET", "/cached").body == b"new", 3, "a new value is seen after a second")
    behind.front_ends[0].kill()
    until(lambda: "sick" in _health(place), 5, "Varnish knows which one is down")
    for number in range(10):
        equal(_ask(behind.port, "PUT", f"/after-{number}", b"x").status, 200, "the status of a write with one front-end down")


def _health(place):
    return run("varnishadm", "-n", os.path.join(place, "v"), "backend.list")
