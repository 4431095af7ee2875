"""Members that die, hang, leave and come back."""

import signal

from client import curl
from cluster import UP_SECONDS, agree, cluster, everywhere, is_ready, members, settle
from harness import Background, check, equal, test, until
from node import Node, free_port


@test
def a_killed_node_comes_back_with_everything():
    nodes = cluster(3)
    nodes[0].put("before", b"1")
    everywhere(nodes, "before", b"1")
    nodes[2].kill()
    nodes[2].process.wait()
    nodes[1].put("meanwhile", b"2")
    until(lambda: members(nodes[0])[nodes[2].address] == "down", UP_SECONDS, "it is shown down")
    again = Node("--join", nodes[1].address, listen=f"127.0.0.1:{nodes[2].port}")
    nodes[2] = again
    settle(nodes)
    equal(again.get("before").body, b"1", "what was there before")
    equal(again.get("meanwhile").body, b"2", "what came meanwhile")
    agree(nodes)


@test
def a_stopped_node_gets_what_it_missed():
    nodes = cluster(3)
    nodes[2].signal(signal.SIGSTOP)
    try:
        for number in range(200):
            nodes[number % 2].put(f"k{number}", b"%d" % number)
        until(lambda: members(nodes[0])[nodes[2].address] == "down", UP_SECONDS, "it is shown down")
        nodes[0].put("k5", b"newest")
    finally:
        nodes[2].signal(signal.SIGCONT)
    agree(nodes)
    equal(nodes[2].get("k5").body, b"newest", "the newest value")
    settle(nodes)


@test
def a_goodbye_is_heard_at_once_and_loses_nothing():
    nodes = cluster(3)
    writes = []

    def write():
        with nodes[1].connect() as connection:
            for number in range(3000):
                reply = connection.ask("PUT", f"/w{number}", b"%d" % number)
                check(reply.status == 200, reply.line())
                writes.append(number)
                if reply.closes():
                    return

    writer = Background(write)
    until(lambda: len(writes) > 100, UP_SECONDS, "some were written")
    equal(nodes[1].terminate(), 0, "the exit code")
    try:
        writer.result()
    except Exception as error:  # pylint: disable=broad-except
        check("connection" in str(error).lower() or "closed" in str(error).lower() or "end" in str(error).lower(),
              f"the writer stopped by {error!r}")
    left = [nodes[0], nodes[2]]
    check(nodes[1].address not in members(nodes[0]), f"it is gone at once ({nodes[1].tail()}; {nodes[0].tail(3)})")
    agree(left)
    for number in writes:
        equal(nodes[0].get(f"w{number}").body, b"%d" % number, f"write {number}")


@test
def a_rolling_restart_loses_nothing():
    ports = [free_port() for _ in range(3)]
    joins = [option for port in ports for option in ("--join", f"127.0.0.1:{port}")]
    nodes = [Node(*joins, listen=f"127.0.0.1:{port}") for port in ports]
    settle(nodes)
    written = []
    stop = []

    def write():
        at = 0
        while not stop:
            number = len(written)
            for _ in range(200):  # whoever is refused goes to the next node
                done = curl("-s", "-o", "/dev/null", "-w", "%{http_code}", "-d", str(number),
                            f"http://127.0.0.1:{ports[at]}/r{number}")
                if done.returncode == 0 and done.stdout == b"200":
                    break
                check(done.returncode in (7, 52, 56) or done.stdout == b"503", f"curl ends with {done}")
                at = (at + 1) % 3
            else:
                check(False, "no node takes a write")
            written.append(number)

    writer = Background(write)
    for number in range(3):
        until(lambda: len(written) > 20 * (number + 1), UP_SECONDS, "writes go on")
        equal(nodes[number].terminate(), 0, "the exit code")
        nodes[number] = Node(*joins, listen=f"127.0.0.1:{ports[number]}")
        until(lambda: is_ready(nodes[number]), UP_SECONDS, "it is back")
    stop.append(True)
    writer.result()
    agree(nodes)
    for node in nodes:
        with node.connect() as connection:
            for number in written:
                equal(connection.ask("GET", f"/r{number}").body, b"%d" % number, f"write {number}")


@test
def a_dead_member_can_be_dropped():
    nodes = cluster(2)
    target = f"/-/members/{nodes[1].address}"
    equal(nodes[0].call("DELETE", target).status, 409, "dropping one that is up")
    nodes[1].kill()
    nodes[1].process.wait()
    until(lambda: nodes[0].call("DELETE", target).status == 200, UP_SECONDS, "it can be dropped once it is down")
    equal(list(members(nodes[0])), [nodes[0].address], "the members")
    equal(nodes[0].call("DELETE", target).status, 404, "dropping it again")


@test
def who_is_down_for_long_is_dropped():
    nodes = cluster(2, "--forget-after", "4s")
    nodes[1].kill()
    nodes[1].process.wait()
    until(lambda: nodes[1].address not in members(nodes[0]), 15, "it is dropped")
