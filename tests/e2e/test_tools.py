"""Clients and load tools of others against a node and a front-end: no request fails, and each is counted."""

import json
import os
import re

from cluster import status
from client import MIB
from foreign import program, run, write
from frontend import Frontend, clusters
from harness import SLOW, check, equal, register, scope, until
from node import Node

REQUESTS = 2000 // SLOW
CLIENTS = 16
VALUE = "blue"


def _ab(url):
    binary, body = program("ab", "apache2-utils"), write("body", VALUE)
    for options in ((), ("-u", body, "-T", "application/octet-stream"), ("-p", body, "-T", "application/octet-stream")):
        for kept in (("-k",), ()):
            said = run(binary, "-q", *kept, "-n", str(REQUESTS), "-c", str(CLIENTS), *options, url)
            equal(re.findall(r"^(?:Complete|Failed) requests: +(\d+)", said, re.M), [str(REQUESTS), "0"], "complete and failed requests")
            check("Non-2xx" not in said and "Write errors" not in said, said)
            equal(re.findall(r"^Keep-Alive requests: +(\d+)", said, re.M), [str(REQUESTS)] if kept else [], "requests on kept connections")
    return 6 * REQUESTS


def _wrk(url):
    script = write("wrong.lua", f'''
        wrk.method, wrk.body = "GET", ""
        local threads = {{}}
        function setup(thread) table.insert(threads, thread) end
        function init() wrong = 0; count = 0 end
        function response(status, headers, body)
            count = count + 1
            if status ~= 200 or body ~= "{VALUE}" then wrong = wrong + 1 end
        end
        function done()
            for _, thread in ipairs(threads) do print("wrong " .. thread:get("wrong") .. " of " .. thread:get("count")) end
        end
    ''')
    said = run(program("wrk", "wrk"), "-t", "1", "-c", str(CLIENTS), "-d", "1", "-s", script, url)
    check("Socket errors" not in said and "Non-2xx" not in said, said)
    wrong, count = map(int, re.search(r"^wrong (\d+) of (\d+)", said, re.M).groups())
    equal(wrong, 0, "wrong answers")
    return count


def _h2load(url):
    binary, body = program("h2load", "nghttp2-client"), write("body", VALUE)
    for options in ((), ("-m", "8"), ("-m", "8", "-d", body)):
        said = run(binary, "--h1", "-n", str(REQUESTS), "-c", str(CLIENTS), *options, url)
        check(f" {REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout" in said, said)
        check(f"status codes: {REQUESTS} 2xx," in said, said)
    return 3 * REQUESTS


def _hey(url):
    binary = program("hey", "hey")
    for options in ((), ("-disable-keepalive",), ("-m", "PUT", "-d", VALUE)):
        said = run(binary, "-n", str(REQUESTS), "-c", str(CLIENTS), *options, url)
        equal(re.findall(r"\[(\d+)\]\s+(\d+) responses", said), [("200", str(REQUESTS // CLIENTS * CLIENTS))], "the answers")
        check("Error distribution" not in said, said)
    return 3 * (REQUESTS // CLIENTS * CLIENTS)


def _siege(url):
    binary, each = program("siege", "siege"), REQUESTS // CLIENTS
    own = {**os.environ, "HOME": scope().directory()}
    settings = write("siegerc", "verbose = false\nquiet = true\nlogging = false\nshow-logfile = false\nparser = false\n"
                                "connection = keep-alive\ntimeout = 20\nfailures = 1\njson_output = true\n")
    for what in (url, f"{url} PUT {VALUE}"):
        said = run(binary, "-R", settings, "-b", "-c", str(CLIENTS), "-r", str(each), what, env=own)
        figures = json.loads(said[said.index("{"):])
        equal((figures["transactions"], figures["failed_transactions"], figures["availability"]), (CLIENTS * each, 0, 100.0),
              "transactions, of these failed, and availability")
    return 2 * CLIENTS * each


def _wget(url):
    binary, place = program("wget", "wget"), scope().directory()
    large = os.urandom(2 * MIB)
    with open(os.path.join(place, "large"), "wb") as file:
        file.write(large)
    run(binary, "-q", "-O", os.devnull, "--method", "PUT", "--body-file", os.path.join(place, "large"), url + "-large")
    run(binary, "-q", "-O", os.path.join(place, "got"), url + "-large")
    with open(os.path.join(place, "got"), "rb") as file:
        check(file.read() == large, "2 MiB came back as something else")
    run(binary, "-q", "--spider", url)
    said = run(binary, "-nv", "-O", "-", url, url, url)
    check(said.count(VALUE) >= 3, said)
    run(binary, "-q", "-O", os.devnull, "--post-data", VALUE, url)
    return 7


def _curl(url):
    """What curl can be asked for that a test of its own does not have."""
    binary = program("curl", "curl")
    count = 0
    for options in (("--http2",), ("--http1.0",), ("--compressed",), ("-r", "0-1"), ("-L", "--max-redirs", "3"), ("--tr-encoding",),
                    ("--cookie", "a=b"), ("-u", "ann:secret"), ("-A", ""), ("--tcp-fastopen",), ("--expect100-timeout", "1"),
                    ("-e", "http://example.org/"), ("-H", "Accept-Encoding: br"), ("--no-keepalive",)):
        equal(run(binary, "-q", "-sS", "-f", "--noproxy", "*", *options, url), VALUE, f"what curl {' '.join(options)} prints")
        count += 1
    said = run(binary, "-q", "-sS", "-f", "--no-progress-meter", "--noproxy", "*", "-Z", "--parallel-max", str(CLIENTS), f"{url}?[1-50]", "-T",
               write("body", VALUE), "-w", "%{http_code}\n")
    equal(said.split(), ["200"] * 50, "statuses of writes side by side")
    return count + 50


def _counted(server):
    return status(server)["requests"]["status_2xx"]


def _works(tool):
    """Against a node, then against a front-end of two partitions."""
    for server in (Node(), Frontend(clusters(2, 1))):
        server.put("colour", VALUE.encode())
        before = _counted(server)
        count = tool(server.url("/colour"))
        seen = until(lambda server=server, before=before, count=count: max(0, _counted(server) - before - count + 1), 5,
                     f"{count} requests are counted")
        check(seen <= CLIENTS + 50, f"{seen} requests more than {count} were counted")
        equal(server.get("colour").body, VALUE.encode(), "the value afterwards")


for _tool in (_ab, _wrk, _h2load, _hey, _siege, _wget, _curl):
    register("tools", f"{_tool.__name__[1:]}_works", _works, _tool)
