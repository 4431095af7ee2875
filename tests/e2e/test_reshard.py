"""From N to M partitions: front-ends that know both, and `velour-fog reshard`."""

import http.client
import json
import os
import random
import signal
import subprocess
import time

from command import Running, run, start
from client import MIB, Connection, refusal, request
from frontend import Frontend, address, clusters, key_of, partition_of
from harness import BINARY, SLOW, Background, Failure, brief, check, equal, scope, test, until
from load import Load
from node import Node, environment, free_port, run_binary
from test_cluster_clocks import clock_environment

KEYS = 20000
FILLERS = 4


def _words(option, groups):
    return [word for members in groups for word in (option, ",".join(address(node) for node in members))]


def _before(old, new, **rest):
    """A front-end that still writes to the old clusters, and knows the new ones."""
    return _both(old, new, "--next-cluster", **rest)


def _after(old, new, **rest):
    """One that writes to the new clusters, and knows the old ones."""
    return _both(new, old, "--previous-cluster", **rest)


def _both(own, other, option, **rest):
    frontend = Frontend(own, *_words(option, other), **rest)
    word = option.removeprefix("--").removesuffix("-cluster")
    for partition in range(len(other)):
        until(lambda partition=partition: frontend.count_log(rf"event=node-usable {word}={partition} "), 10,
              f"the other partition {partition} can be asked")
    return frontend


def _reshard(old, new, *options, seconds=30):
    return run_binary("reshard", *_words("--from", old), *_words("--to", new), *options, seconds=seconds)


def _resharded(old, new):
    done = _reshard(old, new)
    equal((done.returncode, done.stderr), (0, b""), "the exit code of reshard, and what it has to complain of")
    return done.stdout.decode()


def _holder(groups, key):
    return groups[partition_of(key, len(groups))][0]


@test
def it_says_whom_it_waits_for_before_it_begins():
    """Who has written a wrong address would look at nothing for a minute."""
    running = start("reshard", "--from", f"127.0.0.1:{free_port()}", "--to", Node().address)
    said = Background(running.process.stdout.readline)
    equal(said.result(10), b"waits for a node of --from number 0 that is ready\n", "the first line")


# --- front-ends that know both

@test
def whoever_writes_where_all_see_the_newest():
    old, new = clusters(2, 1), clusters(3, 1)
    before, after = _before(old, new), _after(old, new)
    for number in range(30):
        key = f"k-{number}"
        for round_, writer in enumerate((before, after, before, after, after, before)[number % 3:]):
            if round_ == 2 and number % 2:
                writer.delete(key)
                for reader in (before, after):
                    equal(reader.get(key).status, 204, f"the status of {key} after a delete")
                continue
            value = b"%d of %d" % (round_, number)
            writer.put(key, value)
            for reader in (before, after):
                equal(reader.get(key).body, value, f"{key} after write {round_}")
                equal(reader.call("HEAD", "/" + key).header("content-length"), str(len(value)), "the length by HEAD")
    check(all(node.get(key_of(0, 2, "none")).status == 204 for node in (before, after)), "a key that never was")


@test
def writes_go_to_one_side_only():
    old, new = clusters(2, 1), clusters(3, 1)
    before, after = _before(old, new), _after(old, new)
    before.put("k", b"1")
    equal(_holder(new, "k").get("k").status, 204, "the new node's status")
    after.put("k", b"2")
    equal(_holder(old, "k").get("k").body, b"1", "the old node's value")
    after.delete("k")
    equal(_holder(old, "k").get("k").body, b"1", "the old node's value after a delete")
    equal(before.get("k").status, 204, "the status after the delete")


@test
def a_write_wins_over_a_faster_clock_of_the_other_side():
    old, new = clusters(2, 1), clusters(3, 1)
    ahead = int((time.time() + 3600) * 1e6)
    _holder(old, "k").put("k", b"from the future", f"Fog-Version: {ahead}")
    after = _after(old, new)
    version = after.put("k", b"now").fog_version()
    check(version > ahead, f"the version {version} is not above {ahead}")
    equal(after.get("k").body, b"now", "the value")
    equal(_before(old, new).get("k").body, b"now", "the value through the other one")
    equal(after.put("k", b"even later", f"Fog-After: {version - 10}").status, 200, "a write with Fog-After of its own")
    equal(after.get("k").body, b"even later", "the value")


@test
def a_write_wins_over_the_largest_version_of_the_other_side():
    old, new = clusters(2, 1), clusters(3, 1)
    _holder(old, "k").put("k", b"largest", f"Fog-Version: {2**63 - 1}")
    largest = _holder(old, "k").put("k", b"larger").fog_version()
    after = _after(old, new)
    for value in (b"1", b"2"):
        version = after.put("k", value).fog_version()
        check(version > largest, f"the version {version} is not above {largest}")
        equal(after.get("k").body, value, "the value")
    after.delete("k")
    for frontend in (after, _before(old, new)):
        equal(frontend.get("k").status, 204, "the status after the delete")


@test
def conditions_hold_wherever_the_value_is():
    old, new = clusters(2, 1), clusters(3, 1)
    before, after = _before(old, new), _after(old, new)
    before.put("k", b"v")
    tag = after.get("k").etag()
    equal(after.get("k", f"If-None-Match: {tag}").status, 304, "the status with its tag")
    equal(after.get("k", 'If-None-Match: "absent"').body, b"v", "the value with another tag")
    equal(after.get("k", f"If-Match: {tag}").body, b"v", "the value with If-Match")
    refusal(after.get("k", 'If-Match: "another"'), 412)
    after.put("k", b"w")
    refusal(after.get("k", f"If-Match: {tag}"), 412)
    refusal(before.get("k", f"If-Match: {tag}"), 412)
    equal(before.get("k", f"If-None-Match: {tag}").body, b"w", "the value with the old tag")


@test
def who_waits_hears_of_changes_on_both_sides():
    old, new = clusters(2, 1), clusters(3, 1)
    before, after = _before(old, new), _after(old, new)
    before.put("k", b"v")
    tag = before.get("k").etag()
    for reader, writer in ((before, after), (after, before), (after, after)):
        waiting = Background(reader.call, "GET", "/k", None, ["Prefer: wait=20", f"If-None-Match: {tag}"])
        time.sleep(0.7)  # so that it waits, and has been asked anew
        started = time.monotonic()
        tag = writer.put("k", b"%d" % random.getrandbits(32)).etag()
        equal(waiting.result().etag(), tag, "the tag of what was waited for")
        check(time.monotonic() - started < 2 * SLOW, "the change was heard of late")
    started = time.monotonic()
    equal(after.get("k", "Prefer: wait=1", f"If-None-Match: {tag}").status, 304, "the status when nothing changes")
    check(0.9 < time.monotonic() - started < 1 + 2 * SLOW, "it was not held for a second")
    waiting = Background(after.call, "GET", "/k", None, ["Prefer: wait=30", f"If-None-Match: {tag}"])
    time.sleep(0.3)
    after.signal(signal.SIGTERM)
    equal(waiting.result().status, 304, "the status when the front-end stops")
    equal(after.wait(5), 0, "the exit code")


@test
def large_values_pass_from_both_sides():
    old, new = clusters(2, 1), clusters(3, 1)
    before, after = _before(old, new), _after(old, new)
    for size in (0, 70000, 3 * MIB):
        for writer, reader in ((before, after), (after, before)):
            body = random.randbytes(size)
            writer.put(f"k-{size}", body)
            equal(reader.get(f"k-{size}").body == body, True, f"that {size} bytes are the same")
    with after.connect() as connection:  # its body comes bit by bit, while the version is asked for
        connection.send(request("PUT", "/slow", None, [f"Content-Length: {MIB}"]))
        for _ in range(16):
            connection.send(b"s" * (MIB // 16))
            time.sleep(0.01)
        equal(connection.reply().status, 200, "the status")
    equal(len(before.get("slow").body), MIB, "the length of the value")


@test
def other_side_that_is_down_gives_503_and_never_a_false_204():
    old, new = clusters(2, 1), clusters(3, 1)
    _holder(old, "old").put("old", b"v")
    after = _after(old, new)
    after.put("new", b"v")
    for members in old:
        members[0].kill()
    until(lambda: after.get("old").status == 503, 5, "an old key is 503")
    started = time.monotonic()
    equal(after.get("new").body, b"v", "a key of the new clusters")
    after.put("old", b"w")
    equal(after.get("old").body, b"w", "a key that was written anew")
    after.delete("gone")
    equal(after.get("gone").status, 204, "a key that was deleted")
    refusal(after.get("unknown"), 503)
    check(time.monotonic() - started < 3 * SLOW, "clusters that are down make others wait")


@test
def options_of_front_ends_are_checked():
    done = run_binary("frontend", "--cluster", "a:1", "--previous-cluster", "b:1", "--next-cluster", "c:1")
    equal(done.returncode, 2, "the exit code")
    check(b"--previous-cluster" in done.stderr and b"--next-cluster" in done.stderr, done.stderr)


@test
def status_says_which_way_keys_move():
    old, new = clusters(1, 1), clusters(2, 1)
    for frontend, other, word, sentence in ((_before(old, new), new, "next", "keys are to move to 2 partitions"),
                                            (_after(old, new), old, "previous", "keys are moving from 1 partition")):
        said, _ = run("status", address(frontend))
        wrong_way = {"next": "previous", "previous": "next"}[word]
        check(said.splitlines()[0].endswith(f"; {sentence}."), said)
        check(f"\n{word} partition 0\n  {address(other[0][0])} " in said and wrong_way not in said, said)
        seen = json.loads(run("status", "--json", address(frontend))[0])
        own = json.loads(frontend.call("GET", "/-/status").body)
        equal(seen[f"{wrong_way}_partitions"] + own[f"{wrong_way}_partitions"], [], "the partitions of the wrong way")
        equal([(part["name"], part["members"][0]["address"]) for part in seen[f"{word}_partitions"]],
              [(f"{word} partition {number}", address(members[0])) for number, members in enumerate(other)],
              "the others, in JSON")
        equal([list(part["nodes"]) for part in own[f"{word}_partitions"]], [[address(node) for node in members] for members in other],
              "the others, as the front-end tells of them")
        complaint = run("backup", address(frontend), os.path.join(scope().directory(), "all"), code=1)[1]
        check("are moving to another number of partitions" in complaint, complaint)


# --- reshard

def _refused(code, words, *arguments):
    done = run_binary("reshard", *arguments, seconds=20)
    equal(done.returncode, code, "the exit code")
    for word in words:
        check(word in done.stderr.decode(), f"{word} is not in {done.stderr.decode()!r}")
    equal(done.stderr.count(b"\n"), 1, "lines of the complaint")


@test
def wrong_set_ups_are_refused():
    old, new = clusters(2, 1), clusters(3, 1)
    _refused(2, ["--from", "--to"])
    _refused(2, ["--from", "--to"], "--from", "a:1")
    _refused(2, ["--cluster"], "--cluster", "a:1")
    _refused(1, [address(old[1][0]), "1/2"], *_words("--from", old[::-1]), *_words("--to", new))
    _refused(1, [address(old[0][0]), "0/2"], *_words("--from", old[:1]), *_words("--to", new))
    _refused(1, ["partition 1 of 3"], *_words("--from", old), *_words("--to", [new[0], new[2], new[1]]))
    _refused(1, ["named by --from and by --to"], *_words("--from", old), *_words("--to", old))
    for node in (*(group[0] for group in old), *(group[0] for group in new)):
        equal(node.call("GET", "/-/keys").body, b"", "the keys of a node")


@test
def a_front_end_in_place_of_a_node_is_refused_at_once():
    (old,), (new,) = clusters(1, 1), clusters(1, 1)
    frontend = Frontend([old])
    words = [address(frontend), "is no node", "name nodes"]
    _refused(1, words, "--from", address(frontend), *_words("--to", [new]))
    _refused(1, words, *_words("--from", [old]), "--to", address(frontend))


@test
def all_kinds_of_records_are_moved():
    old, new = clusters(2, 2), clusters(3, 2)
    before = Frontend(old)
    before.put("typed", b"<p>", "Content-Type: text/html")
    before.put("lasting", b"v", "Fog-TTL: 3600")
    before.put("short", b"v", "Fog-TTL: 1")
    before.put("empty", b"")
    before.put("large", b"l" * 5 * MIB)
    before.put("deleted", b"v")
    before.delete("deleted")
    before.put("%00%2F%FF", b"odd")
    for number in range(300):
        before.put(f"k-{number}", b"%d" % number)
    tags = {key: before.get(key).etag() for key in ("typed", "lasting", "empty", "large", "%00%2F%FF")}
    said = _resharded(old, new)
    check("Done: every key of the 2 old clusters is in the 3 new ones." in said, said)
    after = Frontend(new)
    equal({key: after.get(key).etag() for key in tags}, tags, "the tags")
    equal(after.get("typed").header("content-type"), "text/html", "the type")
    check(3500 < int(after.get("lasting").header("fog-ttl")) <= 3600, "what is left of a time to live")
    until(lambda: after.get("short").status == 204, 5, "what was short is gone")
    equal(after.get("deleted").header("fog-version"), before.get("deleted").header("fog-version"), "a delete's version")
    equal(sorted(after.get(f"k-{number}").body for number in range(300)), sorted(b"%d" % number for number in range(300)),
          "the values")
    for members in new:  # both of its members have all
        until(lambda members=members: members[0].call("GET", "/-/digest").body == members[1].call("GET", "/-/digest").body,
              5, "the members agree")
    check(" 0 of them were new" in _resharded(old, new).splitlines()[-2], "a second run brings something new")


@test
def what_is_newer_stays():
    old, new = clusters(1, 1), clusters(2, 1)
    for key in ("written", "deleted", "kept"):
        old[0][0].put(key, b"old")
    after = _after(old, new)
    after.put("written", b"new")
    after.delete("deleted")
    _resharded(old, new)
    after = Frontend(new)
    equal([after.get("written").body, after.get("deleted").status, after.get("kept").body], [b"new", 204, b"old"],
          "what is there")


@test
def values_that_expire_all_the_time_do_not_keep_it_from_ending():
    old, new = clusters(2, 1), [[Node(env=clock_environment(FAKETIME="-3"))]]  # to which all expires later
    frontend = Frontend(old)
    for partition in range(2):
        frontend.put(key_of(partition, 2, "last"), b"v")
    version = int((time.time() - 60) * 1e6)
    with frontend.connect() as connection:
        for number in range(3000):
            connection.send(request("PUT", f"/k-{number}", b"v", [f"Fog-TTL: {1 + number % 40}", f"Fog-Version: {version}"]))
            equal(connection.reply().status, 200, "the status")
    started = time.monotonic()
    _resharded(old, new)
    check(time.monotonic() - started < 10 * SLOW, "it waited for all to be gone")


@test
def a_late_and_old_delete_is_given_to_two_members():
    """It does not count, as what has expired looks like that; but who was given it alone may be lost with it."""
    old, new = clusters(1, 1), clusters(2, 2)
    node = old[0][0]
    node.put("last", b"v")
    process = subprocess.Popen([BINARY, "reshard", *_words("--from", old), *_words("--to", new)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment())
    scope().nodes.append(Running(process))
    lines = [process.stdout.readline()]
    with node.connect() as connection:
        connection.send(request("DELETE", "/late", b"", [f"Fog-Version: {int((time.time() - 60) * 1e6)}"]))
        equal(connection.reply().status, 200, "the status of the delete")
    lines += process.stdout.read().splitlines()
    equal(process.wait(60), 0, "the exit code")
    passes = [int(line.split()[4]) for line in lines if b" of them w" in line]
    equal(passes, [1, 1, 0], "what was new in each pass")


@test
def a_version_of_the_future_does_not_hide_deletes_that_go_on():
    """Nothing that is deleted now is as old as what a clock that was wrong has left."""
    old, new = clusters(1, 1), clusters(2, 2)
    node = old[0][0]
    node.put("ahead", b"v", f"Fog-Version: {int((time.time() + 3600) * 1e6)}")
    process = subprocess.Popen([BINARY, "reshard", *_words("--from", old), *_words("--to", new)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment())
    scope().nodes.append(Running(process))
    passes = []
    for line in process.stdout:
        if b" of them w" in line:
            passes.append(int(line.split()[4]))
            if len(passes) < 4:
                node.delete(f"late-{len(passes)}")
    equal(process.wait(60), 0, "the exit code")
    equal(passes, [1, 1, 1, 1, 0], "what was new in each pass")


@test
def a_delete_past_its_grace_period_is_moved_while_a_member_may_not_know_it():
    """It is kept for a member that is away: what that one still has of the key may come to the new cluster from there."""
    old, new = clusters(1, 2, "--grace", "1"), clusters(2, 1)
    node, away = old[0]
    version = node.put("k", b"v").fog_version()
    until(lambda: away.get("k").body == b"v", 5, "the other member has it")
    away.signal(signal.SIGSTOP)
    deleted = node.delete("k").fog_version()
    until(lambda: node.call("GET", "/-/digest").body.startswith(b"all 0000000000000000 "), 60, "the delete does not count any more")
    equal(node.get("k").header("fog-version"), str(deleted), "the delete's version, which is still known")
    _holder(new, "k").put("k", b"v", f"Fog-Version: {version}")
    _resharded([old[0][:1]], new)
    equal(Frontend(new).get("k").status, 204, "the status of a key that was deleted")
    away.kill()


@test
def members_that_die_are_replaced_by_others():
    old, new = clusters(2, 2), clusters(3, 2)
    frontend = Frontend(old)
    _fill(frontend.port, range(3000), {})
    process = _start(old, new, "--rate", "200K")
    time.sleep(0.3)
    for members in new:  # so that they are given what they will not answer
        members[0].signal(signal.SIGSTOP)
    time.sleep(0.3)
    for members in (*old, *new):
        members[0].kill()
    equal(process.wait(60), 0, "the exit code")
    after = Frontend([members[1:] for members in new])
    check(all(after.get(f"k-{number}").body == b"v-%d" % number for number in range(0, 3000, 7)), "a value is lost")


@test
def a_node_without_room_ends_it():
    old, new = clusters(1, 1), [[Node("--partition", "0/2", "--memory-max", "16M")], [Node("--partition", "1/2")]]
    for number in range(30):
        old[0][0].put(f"k-{number}", b"x" * MIB)
    done = _reshard(old, new)
    equal(done.returncode, 1, "the exit code")
    check(b"--memory-max" in done.stderr and address(new[0][0]).encode() in done.stderr, done.stderr)


@test
def it_says_where_it_has_come_to():
    old, new = clusters(2, 1), clusters(3, 1)
    _fill(Frontend(old).port, range(2000), {})
    done = _reshard(old, new, "--rate", "60K")
    equal(done.returncode, 0, "the exit code")
    lines = done.stdout.decode().splitlines()
    check(any(line.startswith("pass 1: ") and " % " not in line and "%," in line and "MB/s" in line and "left" in line
              for line in lines), lines)


# --- a running store, from 2 to 3 partitions and back

def _start(old, new, *options):
    process = subprocess.Popen([BINARY, "reshard", *_words("--from", old), *_words("--to", new), *options],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=environment())
    scope().nodes.append(Running(process))
    return process


def _fill(port, numbers, headers_of, depth=100):
    """Sets keys, many requests at a time."""
    with Connection(port) as connection:
        waiting = 0
        for number in numbers:
            connection.send(request("PUT", f"/k-{number}", b"v-%d" % number, headers_of.get(number, ())))
            waiting += 1
            if waiting == depth:
                for _ in range(waiting):
                    equal(connection.reply().status, 200, "the status of a write")
                waiting = 0
        for _ in range(waiting):
            equal(connection.reply().status, 200, "the status of a write")


class _Client:
    """One that goes to any of the front-ends, to another one when that one stops, and checks what it reads: it alone writes its keys."""

    def __init__(self, number, ports):
        self.number = number
        self.ports = ports
        self.connections = {}
        self.values = {}
        self.random = random.Random(number)

    def ask(self, method, key, body=None, headers=None):
        """An answer, through any front-end."""
        for _ in range(50):
            port = self.random.choice(self.ports)
            connection = self.connections.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=20))
            try:
                connection.request(method, "/" + key, body, headers or {})
                reply = connection.getresponse()
                return reply.status, reply.read(), reply
            except (ConnectionError, http.client.RemoteDisconnected):
                connection.close()  # it stops, or is not there yet: to another one
        raise Failure("no front-end is there")

    def check(self, key):
        """Reads what it must be."""
        status, body, _ = self.ask("GET", key)
        wanted = self.values.get(key)
        equal((status, body), (204, b"") if wanted is None else (200, wanted), f"the answer to GET {key}")

    def step(self, number):
        """Of a load."""
        key = f"c-{self.number}-{self.random.randrange(200)}"
        act = self.random.random()
        if act < 0.1:
            equal(self.ask("DELETE", key)[0], 200, "the status of a delete")
            self.values[key] = None
        elif act < 0.5:
            value = b"%d" % number
            equal(self.ask("PUT", key, value)[0], 200, "the status of a write")
            self.values[key] = value
        elif act < 0.55:
            number = self.random.randrange(1000, KEYS)
            equal(self.ask("GET", f"k-{number}")[:2], (200, b"v-%d" % number), "a value that nobody changes")
        self.check(key)


def _restart(frontends, make):
    for place, frontend in enumerate(frontends):
        equal(frontend.terminate(), 0, "the exit code of a front-end")
        frontends[place] = make(listen=f"127.0.0.1:{frontend.port}")


def _move(frontends, old, new, load):
    """The whole of it, as docs/partitions.md says."""
    _restart(frontends, lambda **rest: _before(old, new, **rest))
    load.pause(0.3)
    _restart(frontends, lambda **rest: _after(old, new, **rest))
    for _ in range(4):
        process = _start(old, new, "--rate", "1M")
        load.pause(random.uniform(0.05, 1.2))
        process.kill()
        equal(process.wait(), -signal.SIGKILL, "the exit code")
    load.pause(0.1)
    _resharded(old, new)
    _restart(frontends, lambda **rest: Frontend(new, **rest))
    for members in old:
        for node in members:
            equal(node.terminate(), 0, "the exit code of an old node")
    load.pause(0.3)


@test(alone=True)
def store_moves_to_three_partitions_and_back_under_load():
    first, second, third = clusters(2, 1), clusters(3, 1), clusters(2, 1)
    frontends = [Frontend(first, listen=f"127.0.0.1:{free_port()}") for _ in range(2)]
    lasting = {number: ["Fog-TTL: 3600"] for number in range(100)}
    short = {number: ["Fog-TTL: 6"] for number in range(100, 200)}
    for part in [Background(_fill, frontends[0].port, range(part, KEYS, FILLERS), lasting | short)
                 for part in range(FILLERS)]:
        part.result()
    for number in range(200, 300):
        frontends[1].delete(f"k-{number}")
    started = time.monotonic()
    ports = [frontend.port for frontend in frontends]
    clients = [_Client(number, ports) for number in range(4)]
    with Load(first[0][0].port, lambda _connection, number: clients[number % 4].step(number)) as load:
        load.pause(0.3)
        _move(frontends, first, second, load)
        _move(frontends, second, third, load)
    for client in clients:
        for key in client.values:
            client.check(key)
    checker = clients[0]
    until(lambda: time.monotonic() > started + 8, 10, "the short ones are gone")
    for number in range(KEYS):
        gone = 100 <= number < 300
        status, body, reply = checker.ask("GET", f"k-{number}")
        equal((status, body), (204, b"") if gone else (200, b"v-%d" % number), f"the answer to GET k-{number}")
        if number < 100:
            check(3500 < int(reply.getheader("Fog-TTL")) <= 3600, f"a time to live is {brief(reply.getheader('Fog-TTL'))}")
