"""What the tables of the HTTP interface talk to: a node, or the same with a front-end before it.

`tests/e2e/run` runs them against a node, `tests/e2e/run --frontend` against a front-end of two partitions, so that what is sent on
one connection goes to both of them by turns.
"""

import threading

from frontend import Frontend, clusters
from harness import SLOW, Scope, entered
from node import Node

# Modules whose tests are of the HTTP interface alone.
MODULES = ("api", "framing", "http", "keys", "limits", "process", "refusals", "systemd", "versions", "wait")

# Tests of these modules that a front-end is not asked, and why.
_NODES_ONLY = "what it asks for is under /-/ of nodes alone"
NOT_OF_FRONTENDS = {
    "http.http_1_0_gets_no_chunks_of_keys": _NODES_ONLY,
    "http.http_1_0_gets_no_chunks_of_records": _NODES_ONLY,
    "refusals.nothing_smuggled_behind_a_bad_merge": _NODES_ONLY,
    "versions.ttl_without_anyone_asking": _NODES_ONLY,
    "wait.wakes_on_a_merge": _NODES_ONLY,
}

if SLOW > 1:
    NOT_OF_FRONTENDS["limits.announced_bodies_cost_nothing"] = (
        "a sanitized node marks all memory of 100 large values in one go, for longer than a front-end waits for it")

_role = "node"


def choose(role):
    """What `serve` gives from now on: "node" or "frontend"."""
    global _role  # pylint: disable=global-statement
    _role = role


def serve(*options, **rest):
    """A node with these options; or a front-end with them, of two partitions of a node each."""
    if _role == "node":
        return Node(*options, **rest)
    return Frontend(clusters(2, 1), *options, **rest)


# --- one for all tests that don't mind company

_common = Scope("common")
_common_lock = threading.Lock()
_shared = []


def _serve_all():
    """Of two nodes each where there is a front-end; which reads where it writes, since tests read what they wrote."""
    if _role == "node":
        return Node()
    return Frontend(clusters(2, 2), "--read-from", "home")


def common():
    """One with default options that tests share; each keeps to keys of its own (`fresh`)."""
    with _common_lock, entered(_common):
        if not _shared or not _shared[-1].alive():
            _shared.append(_serve_all())
        return _shared[-1]


def finish_common():
    """At the very end: what was shared must have lived through everything, and end well."""
    return _common.finish()


def abort_common():
    """When the run is stopped."""
    _common.abort()
