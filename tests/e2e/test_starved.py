"""The whole program while one call fails, at each call from its start to its end: it says in a sentence why it cannot start, or serves."""

import concurrent.futures
import contextlib
import errno
import http.client
import os
import re
import signal
import subprocess
import threading

from harness import BINARY, GUARDED, Skip, check, equal, register, scope
from node import environment

FAILING = os.path.abspath("build/e2e/failing.so")
WORKERS = 4
SECONDS_MAX = 30
ERRORS = {
    "malloc": "ENOMEM",
    "calloc": "ENOMEM",
    "realloc": "ENOMEM",
    "socket": "EACCES EAFNOSUPPORT EMFILE ENFILE ENOBUFS ENOMEM EPROTONOSUPPORT",
    "bind": "EACCES EADDRINUSE EADDRNOTAVAIL",
    "listen": "EADDRINUSE EOPNOTSUPP",
    "getsockname": "ENOBUFS",
    "setsockopt": "ENOPROTOOPT ENOMEM",
    "accept4": "EAGAIN EINTR ECONNABORTED EMFILE ENFILE ENOBUFS ENOMEM EPERM EPROTO",
    "recv": "EAGAIN EINTR ECONNRESET ENOMEM ETIMEDOUT",
    "send": "EAGAIN EINTR ECONNRESET ENOBUFS ENOMEM EPIPE EPERM",
    "epoll_create1": "EMFILE ENFILE ENOMEM",
    "epoll_ctl": "ENOMEM ENOSPC",
    "epoll_wait": "EINTR",
    "signalfd": "EMFILE ENFILE ENOMEM ENODEV",
    "read": "EAGAIN EINTR",
    "fcntl": "EINTR",
    "fopen": "EACCES EMFILE ENFILE ENOENT ENOMEM",
    "getrandom": "EINTR",
    "setrlimit": "EPERM",
}


def _exchange(port):
    """A write and a read, tried again when the connection breaks or there is no memory for it."""
    for _ in range(4):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS_MAX)
        try:
            connection.request("PUT", "/key", b"value")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                connection.request("GET", "/key")
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200:
                    equal(body, b"value", "the value")
                    return
            check(answer.status in (503, 507), f"the status is {answer.status}")
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
    check(False, "it does not serve")


def _look(port):
    """A front-end with nobody behind it says that it runs; its connection may break once."""
    for _ in range(2):
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS_MAX)
            connection.request("GET", "/-/healthy")
            equal(connection.getresponse().status, 200, "the status")
            return
    check(False, "it does not serve")


ROLES = {"node": ((), _exchange), "frontend": (("frontend", "--cluster", "127.0.0.1:1"), _look)}


def _live(role, extra):
    """Starts it, asks it something, ends it. Returns what it has said, and whether it has served."""
    words, ask = ROLES[role]
    with subprocess.Popen([BINARY, *words, "--listen", "127.0.0.1:0"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, env=environment({"LD_PRELOAD": FAILING, **extra})) as process:
        stuck = threading.Timer(SECONDS_MAX, process.kill)
        stuck.start()
        said = b""
        port = None
        while port is None:
            line = process.stderr.readline()
            if not line:
                break
            said += line
            found = re.search(rb"event=listening address=127\.0\.0\.1:(\d+)", line)
            port = int(found.group(1)) if found else None
        try:
            if port:
                ask(port)
        finally:
            process.send_signal(signal.SIGTERM)
            said += process.stderr.read()
            code = process.wait()
            stuck.cancel()
    equal(code, 0 if port else 1, f"having said {said[-300:]!r} the exit code")
    return said.decode(), port is not None


def _try(case):
    role, name, number, error = case
    code = getattr(errno, error)
    try:
        said, served = _live(role, {"FAILING": f"{name}:{number}:{code}"})
        wanted = "in use by another program" if error == "EADDRINUSE" else os.strerror(code)
        last = said.splitlines()[-1]
        check(served or (last.startswith("velour-fog: ") and wanted in last and last.endswith(".")), f"it says {last!r}")
        return served
    except Exception as seen:
        raise type(seen)(f"{role}: {name} {number} {error}: {seen}") from seen


def _each_call_fails(role):
    if GUARDED:
        raise Skip("sanitizers and valgrind do not let their malloc be replaced")
    counts_file = os.path.join(scope().directory(), "counts")
    check(_live(role, {"FAILING_COUNTS": counts_file})[1], "it does not serve")
    with open(counts_file, encoding="ascii") as file:
        counts = {name: int(count) for name, count in (line.split() for line in file)}
    equal(set(counts), set(ERRORS), "what can fail")
    cases = [(role, name, number, error) for name, errors in ERRORS.items() for error in errors.split()
             for number in range(1, counts[name] + 1)]
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        served = list(pool.map(_try, cases))
    check(any(served) and not all(served), f"of {len(cases)} cases {sum(served)} served")


for _role in ROLES:
    register("starved", f"each_call_of_a_{_role}_fails", _each_call_fails, _role)
