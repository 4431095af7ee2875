"""How a newcomer gets everything, and what it says meanwhile."""

import re
import signal
import time

from cluster import UP_SECONDS, agree, cluster, hold, is_ready, members, settle, status
from harness import check, equal, test, until
from node import Node
from proxy import Proxy

VALUE_BYTES = 10_000
KEYS = 3000
SLOW_PACE = 5_000_000  # bytes a second: a copy takes 6 s


def _key(at):
    return f"key{at}"


def _value(at):
    return (b"%d " % at) * (VALUE_BYTES // (len(str(at)) + 1))


def _fill(node):
    """Keys of which every seventh is deleted again."""
    with node.connect() as connection:
        for at in range(KEYS):
            equal(connection.ask("PUT", "/" + _key(at), _value(at)).status, 200, "a write")
        for at in range(0, KEYS, 7):
            equal(connection.ask("DELETE", "/" + _key(at)).status, 200, "a delete")
    return {_key(at): None if at % 7 == 0 else _value(at) for at in range(KEYS)}


def _donor():
    """A full node that others reach by a proxy."""
    proxy = Proxy()
    donor = Node("--advertise", proxy.address)
    proxy.target = donor.port
    return donor, proxy, _fill(donor)


def _copies(node, least=1):
    """Waits until a copy is under way, and has come to so many thousandths."""
    until(lambda: status(node)["cluster"]["gathered_permille"] >= least, UP_SECONDS,
          f"{node.address} copies ({node.tail()})")
    check(not is_ready(node), f"the copy was too quick for this test ({node.tail()})")


@test
def who_has_not_gathered_everything_says_so():
    donor, proxy, wanted = _donor()
    proxy.pace = SLOW_PACE / 2  # each key is asked for meanwhile
    newcomer = Node("--join", proxy.address)
    _copies(newcomer, 100)
    ready = newcomer.call("GET", "/-/ready")
    equal(ready.status, 503, "ready")
    seen = {200: 0, 503: 0}
    with newcomer.connect() as connection:
        for key, value in wanted.items():
            reply = connection.ask("GET", "/" + key)
            if value is None and reply.status == 204:
                continue  # the delete is here
            check(reply.status in seen, f"{key} gives {reply.line()} before everything is gathered")
            seen[reply.status] += 1
            if reply.status == 503:
                check(int(reply.header("retry-after")) >= 1, "Retry-After of a 503")
            else:
                equal(reply.body, value, key)
        equal(connection.ask("GET", "/never-there").status, 503, "a key that nobody has")
        equal(connection.ask("PUT", "/" + _key(8), b"newer").status, 200, "a write meanwhile")
        equal(connection.ask("PUT", "/meanwhile", b"1").status, 200, "a write meanwhile")
    check(seen[200] and seen[503], f"some are there and some are not: {seen}")
    equal(donor.put(_key(9), b"newest").status, 200, "a write to the donor meanwhile")
    check(not is_ready(newcomer), f"the copy was too quick for this test ({newcomer.tail()})")
    wanted |= {_key(8): b"newer", "meanwhile": b"1", _key(9): b"newest"}
    told = status(newcomer)["cluster"]
    check(told["phase"] == "joining" and 100 <= told["gathered_permille"] < 1000 and told["gathered_records"] > 0, told)
    others = status(donor)["cluster"]
    check((others["members"][newcomer.address], others["members_gathered_permille"][proxy.address]) == ("joining", 1000) and
          0 < others["members_gathered_permille"][newcomer.address] < 1000, f"what the donor says of it: {others}")
    newcomer.wait_log(r"event=gathering percent=\d+\.\d records=\d+ megabytes_per_second=\d", UP_SECONDS, "progress")
    until(lambda: is_ready(newcomer), 20, "it is ready at last")
    hold([donor, newcomer], wanted)


@test
def who_has_not_gathered_everything_lists_nothing():
    """A part of it would look like all."""
    _, proxy, _ = _donor()
    proxy.pace = SLOW_PACE
    newcomer = Node("--join", proxy.address)
    _copies(newcomer, 100)
    for target in ("/-/records", "/-/records?from=1", "/-/keys", "/-/keys?prefix=key&limit=1"):
        for method in ("GET", "HEAD"):
            equal(newcomer.call(method, target).status, 503, f"{method} {target}")
    equal(newcomer.call("GET", "/-/records").body, b"This node has not gathered all keys yet; ask another member.\n", "why")
    check(not is_ready(newcomer), f"the copy was too quick for this test ({newcomer.tail()})")
    proxy.pace = None
    until(lambda: is_ready(newcomer), UP_SECONDS, "it is ready at last")
    equal([newcomer.call("GET", target).status for target in ("/-/records", "/-/keys")], [200, 200], "then")


@test
def who_loses_its_donor_goes_on_with_another():
    donor, proxy, wanted = _donor()
    proxy.pace = SLOW_PACE
    newcomer = Node("--join", proxy.address)
    _copies(newcomer, 100)
    proxy.pace = None
    other = Node("--join", proxy.address, "--join", newcomer.address)
    until(lambda: is_ready(other), UP_SECONDS, "a second newcomer is ready")
    check(not is_ready(newcomer), f"the copy was too quick for this test ({newcomer.tail()})")
    check(f"donor={newcomer.address} " not in "\n".join(other.lines), "one that is not ready was a donor")
    donor.kill()
    proxy.close()
    newcomer.wait_log("event=donor-lost", UP_SECONDS, "a line on the donor")
    line = newcomer.wait_log(f"event=gathering donor={other.address} from=", UP_SECONDS, "a line on the next donor")
    check(int(re.search(r"from=(\d+)", line).group(1)) > 1000, f"it goes on where it was: {line}")
    until(lambda: is_ready(newcomer), UP_SECONDS, "it is ready at last")
    records = status(newcomer)["cluster"]["gathered_records"]
    check(records <= KEYS + 100, f"{records} records were copied of {KEYS}")
    hold([newcomer, other], wanted)


@test
def who_has_nobody_to_go_on_with_waits():
    donor, proxy, wanted = _donor()
    proxy.pace = SLOW_PACE
    newcomer = Node("--join", proxy.address)
    _copies(newcomer, 100)
    donor.signal(signal.SIGSTOP)
    try:
        until(lambda: "down" in members(newcomer).values(), UP_SECONDS, "the donor is down")
        newcomer.wait_log("event=donor-lost", 20, "a line on the donor")
        proxy.pace = None
        more = [Node("--join", newcomer.address) for _ in range(3)]  # who hear of the donor only that it is down
        time.sleep(4)
        for node in [newcomer, *more]:
            check(not is_ready(node), f"ready without the donor ({node.tail()})")
        equal(newcomer.call("GET", "/never-there").status, 503, "a key that it cannot know of")
    finally:
        donor.signal(signal.SIGCONT)
    settle([donor, newcomer, *more])
    hold([donor, newcomer, *more], wanted)


@test
def who_has_nobody_to_go_on_with_can_be_told_to():
    donor, proxy, _ = _donor()
    proxy.pace = SLOW_PACE
    newcomer = Node("--join", proxy.address)
    _copies(newcomer, 100)
    donor.kill()
    donor.process.wait()
    proxy.close()
    target = f"/-/members/{proxy.address}"
    until(lambda: newcomer.call("DELETE", target).status == 200, UP_SECONDS, "the dead donor can be dropped")
    until(lambda: is_ready(newcomer), UP_SECONDS, f"it serves what it has ({newcomer.tail()})")
    equal(newcomer.call("GET", "/never-there").status, 204, "a key that it lacks")


@test
def a_member_that_comes_back_empty_makes_nobody_lose_a_thing():
    nodes = cluster(2)
    wanted = {f"k{at}": b"%d" % at for at in range(300)}
    for key, value in wanted.items():
        nodes[0].put(key, value)
    agree(nodes)
    for victim in (0, 1, 0):
        other = nodes[1 - victim]
        nodes[victim].kill()
        nodes[victim].process.wait()
        nodes[victim] = Node("--join", other.address, listen=f"127.0.0.1:{nodes[victim].port}")
        settle(nodes)
        hold(nodes, wanted)


@test
def a_newcomer_waits_for_a_member_whose_clients_have_all_its_connections():
    donor = Node("--connections-max", "12")
    donor.put("k", b"value")
    clients = [donor.connect() for _ in range(12)]
    for client in clients:
        equal(client.ask("GET", "/k").status, 200, "a read")
    newcomer = Node("--join", donor.address)
    time.sleep(3)
    check(not is_ready(newcomer), f"ready though a member was there ({newcomer.tail()})")
    equal(newcomer.call("GET", "/k").status, 503, "a key that it cannot know of")
    for client in clients:
        client.close()
    until(lambda: is_ready(newcomer), UP_SECONDS, f"{newcomer.address} is ready ({newcomer.tail()})")
    equal(newcomer.count_log("serving alone"), 0, "times that it served alone")
    hold([donor, newcomer], {"k": b"value"})


@test
def a_newcomer_for_whom_its_cluster_has_no_place_says_why():
    donor = Node()
    now = int(time.time() * 1e6)
    hello = f"protocol 1\ncluster fog\npartition -\njoined 1\nclock {now}\nsince {now}\nhorizon 0\ndigest {0:016x}\nrecords 0\n"
    hello += "".join(f"member 127.1.{at // 250}.{at % 250 + 1}:9 ready {at + 1:016x} {now} 0 0\n" for at in range(1100))
    equal(donor.call("POST", "/-/members", hello.encode()).status, 503, "the last of those who say hello has no place")
    newcomer = Node("--join", donor.address)
    until(lambda: newcomer.count_log("knows as many members as it can"), UP_SECONDS, f"it says why ({newcomer.tail()})")
    check(not is_ready(newcomer), "ready, though a member is there")
    equal(newcomer.count_log("serving alone"), 0, "times that it served alone")
    check(donor.count_log("member-refused"), f"nobody was refused ({donor.tail()})")


@test
def a_newcomer_that_is_too_small_says_so_and_is_ready_once_there_is_room():
    donor = Node()
    for at in range(24):
        donor.put(_key(at), bytes(1 << 20))
    small = Node("--join", donor.address, "--memory-max", "16M")
    until(lambda: b"--memory-max" in small.call("GET", "/-/ready").body, UP_SECONDS, f"it says why it is not ready ({small.tail()})")
    time.sleep(21)  # it has tried again twice, the second time from where it was before
    check(not is_ready(small), f"ready though it lacks keys ({small.tail()})")
    counts = [small.count_log(f"event={event}") for event in ("gathering-failed", "donor-lost", "gathering donor=")]
    equal(counts, [1, 0, 2], f"what it logs ({small.tail(10)})")
    for at in range(16):
        donor.delete(_key(at))
    until(lambda: is_ready(small), 2 * UP_SECONDS, f"it is ready when there is room ({small.tail()})")
    hold([donor, small], {_key(at): bytes(1 << 20) if at >= 16 else None for at in range(24)})
