"""Clocks that are wrong: an hour off, stepping, standing still. libfaketime makes them so."""

import glob
import os
import time

from cluster import UP_SECONDS, agree, everywhere, hold, metric, settle, status
from harness import ASAN, Skip, check, equal, scope, test, until
from node import Node


def _library():
    found = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not found:
        raise Skip("there is no libfaketime (scripts/setup test installs it)")
    return found[0]


def clock_environment(**more):
    """Only the wall clock is wrong; timers run on another one."""
    extra = {"LD_PRELOAD": _library(), "FAKETIME_DONT_FAKE_MONOTONIC": "1", **more}
    if ASAN:
        extra["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    return extra


class _Clock:
    """A clock that a test sets while a node goes by it."""

    def __init__(self, name):
        self._path = os.path.join(scope().directory(), name)
        self.set("+0")
        self.environment = clock_environment(FAKETIME_TIMESTAMP_FILE=self._path, FAKETIME_NO_CACHE="1")

    def set(self, what):
        """Such as +3600; or a date at which it stands still."""
        with open(self._path + ".new", "w", encoding="ascii") as file:
            file.write(what + "\n")
        os.rename(self._path + ".new", self._path)

    def stand_still(self, seconds_ago):
        """At a time that is past."""
        self.set(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - seconds_ago)))


def _take_turns(nodes, key, rounds):
    """Each in turn writes what it has read of the one before it; returns the last value."""
    value = b"first"
    nodes[0].put(key, value)
    for at in range(1, rounds):
        node = nodes[at % len(nodes)]
        everywhere([node], key, value)
        value = b"%d by %d" % (at, at % len(nodes))
        node.put(key, value)
    return value


def _is_shown(node, other, hours):
    name = f'velour_fog_member_skew_seconds{{member="{other.address}"}}'
    until(lambda: abs(metric(node, name) - 3600 * hours) < 60, UP_SECONDS, f"{name} shows {hours} h")
    skew = status(node)["cluster"]["clock_skew_seconds"][other.address]
    check(abs(skew - 3600 * hours) < 60, f"clock_skew_seconds in /-/status is {skew}")
    sign = "+" if hours > 0 else "−"
    text = node.call("GET", "/").body.decode()
    check(f", clock {sign}" in text, f"the skew is not in the text of the front page: {text[:500]}")
    node.wait_log(rf"level=warn event=clock-skew member={other.address} skew_seconds=-?\d{{4}}\.",
                  UP_SECONDS, "line on the clock")


@test
def clocks_that_are_hours_apart_do_no_harm_and_are_reported():
    first = Node()
    nodes = [first, Node("--join", first.address, env=clock_environment(FAKETIME="+1h")),
             Node("--join", first.address, env=clock_environment(FAKETIME="-1h"))]
    settle(nodes)
    wanted = {f"turns{at}": _take_turns(nodes[at:] + nodes[:at], f"turns{at}", 7) for at in range(3)}
    for at, node in enumerate(nodes):
        nodes[at - 1].put(f"gone{at}", b"x")
        everywhere([node], f"gone{at}", b"x")
        node.delete(f"gone{at}")
        wanted[f"gone{at}"] = None
    hold(nodes, wanted)
    _is_shown(nodes[0], nodes[1], 1)
    _is_shown(nodes[0], nodes[2], -1)
    _is_shown(nodes[1], nodes[2], -2)


@test
def a_clock_that_steps_and_stands_still_does_no_harm():
    clock = _Clock("clock")
    first = Node()
    nodes = [first, Node("--join", first.address, env=clock.environment)]
    settle(nodes)
    wanted = {}
    for at, step in enumerate(("+3600", "-3600", "+0", "-60", "still")):
        clock.stand_still(100) if step == "still" else clock.set(step)
        for other in range(2):
            key = f"step{at}-{other}"
            wanted[key] = _take_turns(nodes[other:] + nodes[:other], key, 6)
            wanted["same"] = _take_turns(nodes[other:] + nodes[:other], "same", 4)
    before = nodes[1].put("still", b"1").fog_version()
    equal(nodes[1].put("still", b"2").fog_version(), before + 1, "the next version while the clock stands still")
    nodes[1].delete("still")
    wanted["still"] = None
    hold(nodes, wanted)
    nodes[0].wait_log("event=clock-skew", UP_SECONDS, "line on the clock")
    clock.set("+0")
    nodes[0].wait_log("event=clock-fine", UP_SECONDS, "line on the clock once it is right")
    agree(nodes)


@test
def a_clock_that_is_days_ahead_for_a_moment_ends_no_values():
    clock = _Clock("clock")
    first = Node()
    nodes = [first] + [Node("--join", first.address, env=clock.environment if at == 1 else None) for at in range(2)]
    settle(nodes)
    nodes[0].call("PUT", "/session", b"data", ("Fog-TTL: 86400",))
    nodes[0].call("PUT", "/short", b"data", ("Fog-TTL: 1",))
    everywhere(nodes, "session", b"data")
    clock.set("+2d")
    until(lambda: nodes[2].get("session").status == 204, 5, "the key is gone by the wrong clock")
    until(lambda: all(node.get("short").status == 204 for node in nodes), 5, "another key is gone by all clocks")
    until(lambda: metric(nodes[2], "velour_fog_tombstones") > 0, 5, "it has become a delete")
    clock.set("+0")
    agree(nodes)
    for node in nodes:
        equal(node.get("session").body, b"data", f"the key on {node.address}")
