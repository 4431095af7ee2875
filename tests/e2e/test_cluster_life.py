"""Members that die, hang, leave and come back."""

import signal
import socket
import time

from client import Connection, curl, request
from cluster import UP_SECONDS, agree, cluster, everywhere, hold, is_ready, members, number, settle, status
from harness import SLOW, Background, check, equal, test, until
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


class _Load:
    """Clients that write as fast as they can to some nodes; a client goes on to the next one when it is refused, or told to
    by a 503 or `Connection: close`. Anything else is an error; save that a machine so busy that a client took longer than
    PAUSE_SECONDS to ask again finds its connection closed, as any idle one is when a node stops."""

    PAUSE_SECONDS = 0.1

    def __init__(self, ports, clients=6, depth=20):
        self.written = [[] for _ in range(clients)]
        self.stopping = False
        self._depth = depth
        self._ports = ports
        self._clients = [Background(self._run, client) for client in range(clients)]

    def _run(self, client):
        at = client
        while not self.stopping:
            quiet = time.monotonic()
            try:
                connection = Connection(self._ports[at % len(self._ports)])
            except ConnectionRefusedError:
                time.sleep(0.002)
            else:
                with connection:
                    self._write(connection, client, quiet)
            at += 1

    def _write(self, connection, client, quiet):
        own = self.written[client]
        while not self.stopping:
            wanted = [f"load{client}-{len(own) + ahead}" for ahead in range(self._depth)]
            connection.send_what_goes(b"".join(request("PUT", "/" + key, key.encode()) for key in wanted))
            slow = time.monotonic() - quiet > self.PAUSE_SECONDS
            quiet = time.monotonic()  # the node counts from its answers, which this client may read late
            for key in wanted:
                if slow and not connection.has_more():
                    return
                reply = connection.reply("PUT")
                check(reply.status in (200, 503), reply.line())
                if reply.status == 200:
                    own.append(key)
                if reply.closes() or reply.status == 503:
                    return

    def count(self):
        """Writes that were acknowledged so far."""
        return sum(len(own) for own in self.written)

    def go_on(self, more):
        """Waits for so many more writes."""
        goal = self.count() + more
        until(lambda: self.count() >= goal, 20, f"{more} writes more are done ({self.count()} by now)")

    def end(self):
        """Ends them; returns all that was acknowledged."""
        self.stopping = True
        for client in self._clients:
            client.result()
        return {key: key.encode() for own in self.written for key in own}


def _told_to_stop(node):
    """SIGTERM, and the end that must follow in good time."""
    begun = time.monotonic()
    equal(node.terminate(), 0, "the exit code")
    check(time.monotonic() - begun < 10 * SLOW, "it took longer than --drain-time")


@test
def a_goodbye_is_heard_at_once_and_loses_nothing():
    nodes = cluster(3)
    load = _Load([node.port for node in nodes])
    load.go_on(1000)
    _told_to_stop(nodes[1])
    check(nodes[1].address not in members(nodes[0]), f"it is gone at once ({nodes[1].tail()}; {nodes[0].tail(3)})")
    load.go_on(500)
    hold([nodes[0], nodes[2]], load.end())


@test
def who_reads_slowly_does_not_keep_a_node_from_its_goodbye():
    nodes = cluster(2, "--drain-time", "2")
    nodes[0].put("k", bytes(30 << 20))
    everywhere(nodes, "k", bytes(30 << 20))
    with nodes[1].connect(receive_buffer=65536) as slow:
        slow.send(request("GET", "/k"))
        slow.socket.recv(1000)
        _told_to_stop(nodes[1])
    equal(nodes[1].count_log("event=drain-time-over connections=1 "), 1, "how often it is said that a request was cut off")
    equal(nodes[1].count_log("is lost"), 0, f"how often it is said that something is lost ({nodes[1].tail()})")
    check(nodes[1].address not in members(nodes[0]), f"it is gone at once ({nodes[1].tail()}; {nodes[0].tail(3)})")


@test
def two_goodbyes_at_once_lose_nothing():
    nodes = cluster(3)
    load = _Load([node.port for node in nodes])
    load.go_on(1000)
    stops = [Background(_told_to_stop, node) for node in nodes[1:]]
    for stop in stops:
        stop.result()
    load.go_on(500)
    hold(nodes[:1], load.end())


@test
def a_rolling_restart_under_load_is_no_error_and_loses_nothing():
    ports = [free_port() for _ in range(3)]
    joins = [option for port in ports for option in ("--join", f"127.0.0.1:{port}")]
    nodes = [Node(*joins, listen=f"127.0.0.1:{port}") for port in ports]
    settle(nodes)
    load = _Load(ports)
    lives = {number(node) for node in nodes}
    for at in range(3):
        load.go_on(300)
        _told_to_stop(nodes[at])
        nodes[at] = Node(*joins, listen=f"127.0.0.1:{ports[at]}")
        until(lambda at=at: is_ready(nodes[at]), UP_SECONDS, "it is back")
    load.go_on(300)
    wanted = load.end()
    settle(nodes)
    check(not lives & {number(node) for node in nodes}, "a node that was restarted has the number of its life before")
    hold(nodes, wanted)


@test
def a_rolling_restart_is_no_error_for_curl():
    ports = [free_port() for _ in range(3)]
    joins = [option for port in ports for option in ("--join", f"127.0.0.1:{port}")]
    nodes = [Node(*joins, listen=f"127.0.0.1:{port}") for port in ports]
    settle(nodes)
    written = {}
    stop = []

    def write():
        at = 0
        while not stop:
            key = f"r{len(written)}"
            for _ in range(500):  # whoever is refused goes to the next node
                done = curl("-o", "/dev/null", "-w", "%{http_code}", "-d", key, f"http://127.0.0.1:{ports[at]}/{key}")
                if done.returncode == 0 and done.stdout == b"200":
                    break
                check(done.returncode == 7 or done.stdout == b"503", f"curl ends with {done}")
                at = (at + 1) % 3
            else:
                check(False, "no node takes a write")
            written[key] = key.encode()

    writer = Background(write)
    for at in range(3):
        until(lambda at=at: len(written) > 20 * (at + 1) or not writer.runs(), UP_SECONDS, "writes go on")
        check(writer.runs(), f"the writer ends with {writer.error()}")
        _told_to_stop(nodes[at])
        nodes[at] = Node(*joins, listen=f"127.0.0.1:{ports[at]}")
        until(lambda at=at: is_ready(nodes[at]), UP_SECONDS, "it is back")
    stop.append(True)
    writer.result()
    hold(nodes, written)


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
def a_dropped_member_that_comes_back_is_not_ready():
    """It has not heard what was deleted since, and nobody hears what it is told."""
    nodes = cluster(3)
    nodes[2].signal(signal.SIGSTOP)
    try:
        until(lambda: members(nodes[0])[nodes[2].address] == "down", UP_SECONDS, "it is shown down")
        equal(nodes[0].call("DELETE", f"/-/members/{nodes[2].address}").status, 200, "dropping it")
        until(lambda: nodes[2].address not in members(nodes[1]), UP_SECONDS, "the other one has heard of that")
    finally:
        nodes[2].signal(signal.SIGCONT)
    until(lambda: not is_ready(nodes[2]), UP_SECONDS, f"it is not ready ({nodes[2].tail()})")
    answer = nodes[2].call("GET", "/-/ready")
    check(b"was dropped from its cluster" in answer.body and b"restart it" in answer.body, f"it says why: {answer.body!r}")
    check(is_ready(nodes[0]) and is_ready(nodes[1]), "the others serve")


@test
def who_has_nothing_yet_does_not_choose_between_two_parts_of_its_cluster():
    """It would be of the part that has answered first, and tell all of the other one that they were dropped."""
    short = ("--forget-after", "4s")
    nodes = cluster(3, *short)
    nodes[2].signal(signal.SIGSTOP)
    try:
        until(lambda: nodes[2].address not in members(nodes[1]), 15, "it is dropped")
        nodes[1].put("meanwhile", b"1")
        everywhere(nodes[:2], "meanwhile", b"1")
        for node in nodes[:2]:
            node.signal(signal.SIGSTOP)
        nodes[2].signal(signal.SIGCONT)
        until(lambda: len(members(nodes[2])) == 1, 15, "it has dropped the others as well")
    finally:
        for node in nodes:
            node.signal(signal.SIGCONT)
    settle(nodes[:2])
    joins = [word for node in nodes for word in ("--join", node.address)]
    nodes[0].terminate()
    nodes[0] = Node(*joins, *short, listen=f"127.0.0.1:{nodes[0].port}")
    until(lambda: b"have dropped each other" in nodes[0].call("GET", "/-/ready").body, UP_SECONDS, "it says why it is not ready")
    equal(nodes[0].get("elsewhere").status, 503, "the status of what it has not got: the other part may have it")
    time.sleep(1)
    check(is_ready(nodes[1]) and is_ready(nodes[2]), "the two parts serve on")
    for i in (2, 0):
        nodes[i].terminate()
        nodes[i] = Node(*joins, *short, listen=f"127.0.0.1:{nodes[i].port}")
        until(lambda i=i: is_ready(nodes[i]), UP_SECONDS, f"{nodes[i].address} is ready ({nodes[i].tail()})")
    settle(nodes)
    everywhere(nodes, "meanwhile", b"1")


@test
def who_has_stood_still_for_long_hears_that_it_was_dropped():
    """Else it would serve on alone, with what it had."""
    nodes = cluster(2, "--forget-after", "4s")
    nodes[1].signal(signal.SIGSTOP)
    try:
        until(lambda: nodes[1].address not in members(nodes[0]), 15, "it is dropped")
    finally:
        nodes[1].signal(signal.SIGCONT)
    until(lambda: not is_ready(nodes[1]), UP_SECONDS, f"it is not ready ({nodes[1].tail()})")
    check(is_ready(nodes[0]), "the other one serves")


def _be_older_than(node, seconds):
    until(lambda: status(node)["uptime_seconds"] > seconds, 10 * SLOW, f"{node.address} is older than {seconds} s")


@test
def members_may_be_older_than_members_are_remembered():
    """Else nobody could join a cluster that has been there for --forget-after, nor be started again in it."""
    nodes = cluster(2, "--forget-after", "3s")
    nodes[0].put("before", b"1")
    everywhere(nodes, "before", b"1")
    _be_older_than(nodes[1], 4)
    nodes.append(Node("--join", nodes[1].address, "--forget-after", "3s"))
    settle(nodes)
    equal(nodes[2].get("before").body, b"1", "what was there before, at a new node")
    nodes[0].terminate()
    nodes[0] = Node("--join", nodes[1].address, "--forget-after", "3s", listen=f"127.0.0.1:{nodes[0].port}")
    settle(nodes)
    equal(nodes[0].get("before").body, b"1", "what was there before, at one that was started again")
    agree(nodes)


@test
def an_old_member_is_taken_in_by_those_who_started_without_it():
    """They cannot have forgotten it, since they were not there; and what it has is all that there is of it."""
    old, other = cluster(2, "--forget-after", "3s")
    old.put("before", b"1")
    everywhere([old, other], "before", b"1")
    _be_older_than(old, 4)
    other.kill()
    other.process.wait()
    old.signal(signal.SIGSTOP)
    try:
        ports = [free_port() for _ in range(2)]
        new = [Node(*(word for at in (*ports, old.port) for word in ("--join", f"127.0.0.1:{at}")), "--forget-after", "3s",
                    listen=f"127.0.0.1:{port}") for port in ports]
        settle(new)
        new[0].put("after", b"2")
    finally:
        old.signal(signal.SIGCONT)
    for node in [old, *new]:
        for key, value in (("before", b"1"), ("after", b"2")):
            until(lambda node=node, key=key, value=value: node.get(key).body == value, UP_SECONDS, f"{node.address} has {key}")


@test
def who_is_down_for_long_is_dropped():
    nodes = cluster(2, "--forget-after", "4s")
    nodes[1].kill()
    nodes[1].process.wait()
    until(lambda: nodes[1].address not in members(nodes[0]), 15, "it is dropped")


@test
def of_many_members_all_are_counted_and_those_in_trouble_told():
    node = Node()
    now = int(time.time() * 1e6)
    with socket.create_server(("", 0), backlog=200) as silent:  # who connects is heard, and who says hello not answered
        port = silent.getsockname()[1]
        lines = [f"member 127.1.0.{at + 1}:{port} ready {at + 1:016x} {now} 0 {99999 if at == 98 else 0}\n" for at in range(99)]
        hello = f"protocol 1\ncluster fog\npartition -\njoined 1\nclock {now}\nsince {now}\nhorizon 0\ndigest {0:016x}\nrecords 0\n"
        equal(node.call("POST", "/-/members", (hello + "".join(lines)).encode()).status, 200, "the status of the hello")
        seen, text, metrics = status(node)["cluster"], *(node.call("GET", path).body.decode() for path in ("/", "/-/metrics"))
    last = f"127.1.0.99:{port}"
    equal(sum(seen["member_counts"].values()), 100, "all members")
    equal(seen["member_counts"]["down"], 1, "those that are down")
    equal((len(seen["members"]), list(seen["members"])[0]), (64, node.address), "those that are told, and the first of them")
    equal(seen["members"].get(last), "down", "the last one")
    check(f'velour_fog_member_up{{member="{last}"}} 0' in metrics, "the last one is no metric")
    equal(metrics.count("velour_fog_member_up{"), 32, "members as metrics")
    check(f"\nmember       {last} down\n" in text and "\n             and 36 more\n" in text, text)
