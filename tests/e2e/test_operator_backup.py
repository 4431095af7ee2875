"""`velour-fog backup` and `velour-fog restore`."""

import os
import random
import re
import signal
import socket
import stat
import subprocess
import time

from backup import ODD_KEYS, digest_of, keys_of, merge, records_of
from client import MIB, curl
from cluster import UP_SECONDS, cluster, is_ready, members, settle, status
from command import end, file_limit, name, on_terminal, rows, run, size, start, watch_memory, watches_signals
from frontend import Frontend, clusters, partition_of
from harness import BINARY, check, equal, scope, test, until
from node import Node, environment, free_port
from proxy import Proxy

HEAD_BYTES = 36  # of a frame


def _file(called="backup"):
    return os.path.join(scope().directory(), called)


def _everything(store):
    """Every kind of record; what each key then is: (status, body, type)."""
    wanted = {}
    for at, key in enumerate(ODD_KEYS):
        store.put(key, b"%d" % at, "Content-Type: text/x-%d" % at)
        wanted[key] = (200, b"%d" % at, f"text/x-{at}")
    for at in range(200):
        store.put(f"k-{at}", b"v-%d" % at)
        wanted[f"k-{at}"] = (200, b"v-%d" % at, "application/octet-stream")
    for at in range(0, 200, 5):
        store.delete(f"k-{at}")
        wanted[f"k-{at}"] = (204, b"", "")
    store.put("empty", b"")
    wanted["empty"] = (200, b"", "application/octet-stream")
    store.put("lasting", b"ttl", "Fog-TTL: 3600")
    wanted["lasting"] = (200, b"ttl", "application/octet-stream")
    return wanted


def _check(store, wanted):
    with store.connect() as connection:
        for key, (status, body, kind) in wanted.items():
            reply = connection.ask("GET", "/" + key)
            equal((reply.status, reply.body, reply.kind() if status == 200 else ""), (status, body, kind), f"/{key}")
        check(3000 < int(connection.ask("GET", "/lasting").header("fog-ttl")) <= 3600, "the time to live")


def _fill(store, bytes_, value_bytes=100_000):
    value = random.randbytes(value_bytes)
    with store.connect() as connection:
        for at in range(bytes_ // value_bytes):
            equal(connection.ask("PUT", f"/fill-{at}", value).status, 200, "a write")


@test
def all_that_there_is_comes_back():
    node, other = Node(), Node()
    wanted = _everything(node)
    said, complaint = run("backup", name(node), _file())
    equal(complaint, "", "stderr")
    check(re.fullmatch(r"Done: \d+ records of 1 partition are in \S+, \d+\.\d MB; \d+\.\d s\n", said), said)
    check(not os.path.exists(_file("backup.part")), "FILE.part is still there")
    said, complaint = run("restore", name(other), _file())
    equal(complaint, "", "stderr")
    records = len(wanted)
    check(said.startswith(f"Done: {records} records of {_file()} were given to 1 partition, {records} of them were new;"),
          said)
    _check(other, wanted)
    equal(digest_of(other), digest_of(node), "the digest of it all")
    said, _ = run("restore", name(other), _file())
    check(", 0 of them were new;" in said, said)


@test
def from_two_partitions_to_three_and_one():
    frontend, other = Frontend(clusters(2, 2)), Frontend(clusters(3, 1))
    wanted = _everything(frontend)
    said, _ = run("backup", name(frontend), _file())
    check(f"Done: {len(wanted)} records of 2 partitions are in " in said, said)
    said, _ = run("restore", name(other), _file())
    check(f"Done: {len(wanted)} records of {_file()} were given to 3 partitions, {len(wanted)} of them were new;" in said,
          said)
    _check(other, wanted)
    node = Node()
    run("restore", name(node), _file())
    _check(node, wanted)


@test
def a_delete_that_is_newer_stays():
    node, other = Node(), Node()
    node.put("k", b"old")
    merge(other, records_of(node))
    run("backup", name(node), _file())
    other.delete("k")
    run("restore", name(other), _file())
    equal(other.get("k").status, 204, "the status")


@test
def curl_reads_what_backup_wrote_and_the_other_way_round():
    node, other, third = Node(), Node(), Node()
    wanted = _everything(node)
    run("backup", name(node), _file())
    done = curl("-T", _file(), other.url("/-/merge"))
    equal(done.stdout, b"%d records were read, %d of them were new here.\n" % (len(wanted), len(wanted)), "the answer")
    _check(other, wanted)
    curl("-o", _file("by-curl"), node.url("/-/records"))
    said, _ = run("restore", name(third), _file("by-curl"))
    check(f"{len(wanted)} of them were new;" in said, said)
    _check(third, wanted)


@test
def one_record_is_not_told_of_as_several():
    node, other = Node(), Node("--partition", f"{1 - partition_of('k', 2)}/2")
    node.put("k", b"v")
    said, _ = run("backup", name(node), _file())
    check(said.startswith("Done: 1 record of 1 partition is in "), said)
    said, _ = run("restore", name(node), _file())
    check(said.startswith(f"Done: 1 record of {_file()} was given to 1 partition, 0 of them were new;"), said)
    said, _ = run("restore", name(other), _file())
    check("\n1 record is of other partitions, and was left out: restore through" in said, said)


@test
def one_partition_alone():
    groups = clusters(2, 1)
    frontend = Frontend(groups)
    wanted = _everything(frontend)
    mine = sum(partition_of(key, 2) == 1 for key in wanted)
    said, _ = run("backup", name(groups[1][0]), _file())
    check(f"Done: {mine} records of partition 1 of 2 are in " in said, said)
    run("backup", name(frontend), _file("all"))
    target = Node("--partition", "1/2")
    said, _ = run("restore", name(target), _file("all"))
    check(f"Done: {mine} records of {_file('all')} were given to partition 1 of 2, {mine} of them were new;" in said, said)
    check(f"\n{len(wanted) - mine} records are of other partitions, and were left out:" in said, said)
    equal(len(keys_of(target)), len(keys_of(groups[1][0])), "keys")
    run("restore", name(groups[1][0]), _file())


@test
def nothing_at_all():
    node, other = Node(), Node()
    run("backup", name(node), _file())
    said, _ = run("restore", name(other), _file())
    check(said.startswith("Done: 0 records"), said)


@test(alone=True)
def values_of_64_mib_in_bounded_memory():
    node, other = Node(), Node()
    values = {f"large-{i}": random.randbytes(64 * MIB) for i in range(2)}
    for key, value in values.items():
        node.put(key, value)
    running = start("backup", name(node), _file())
    watch_memory(running, 110 * MIB)
    equal(end(running)[0], 0, "the exit code of backup")
    running = start("restore", name(other), _file())
    watch_memory(running, 250 * MIB)
    equal(end(running)[0], 0, "the exit code of restore")
    for key, value in values.items():
        check(other.get(key).body == value, f"{key} is another value")


# --- broken off

def _halfway(path, *words):
    """A backup that was killed in the middle of a partition."""
    running = start(*words)
    until(lambda: size(path) >= 3 * MIB or running.process.poll() is not None, 20, "some of it is there")
    running.process.kill()
    running.process.wait()
    equal(running.process.returncode, -signal.SIGKILL, f"the exit code ({end(running)})")
    check(not os.path.exists(path.removesuffix(".part")), "the file is there")


@test
def a_backup_that_was_killed_goes_on():
    groups = clusters(2, 1)
    frontend, other = Frontend(groups), Frontend(clusters(2, 1))
    wanted = _everything(frontend)
    _fill(frontend, 6_000_000)
    words = ["backup", name(frontend), _file(), "--resume", "--rate", "4M"]
    _halfway(_file("backup.part"), *words)
    kept = size(_file("backup.part"))
    said, _ = run(*words[:-2])
    going_on = re.match(r"Going on with \S+\.part behind (\d+) records, (\d+\.\d) MB of 2 partitions\n", said)
    check(going_on and float(going_on.group(2)) * 1e6 > kept - 1.2 * MIB, said)
    run("restore", name(other), _file())
    _check(other, wanted)
    equal(sum(len(keys_of(group[0])) for group in other.clusters), sum(len(keys_of(group[0])) for group in groups), "keys")


@test
def a_backup_goes_on_at_any_byte():
    node = Node()
    _everything(node)
    run("backup", name(node), _file())
    with open(_file(), "rb") as file:
        whole = file.read()
    for kept in [0, 1, 35, 36, 91] + random.choices(range(len(whole)), k=8):  # in its head there is nothing to go on with
        with open(_file("backup.part"), "wb") as file:
            file.write(whole[:kept])
        said, _ = run("backup", "--resume", name(node), _file())
        check("Done: " in said, said)
        with open(_file(), "rb") as file:
            check(sorted(re.findall(rb"v-\d+", file.read())) == sorted(re.findall(rb"v-\d+", whole)), "it differs")
        run("restore", name(node), _file())


@test
def a_part_of_another_store_is_not_gone_on_with():
    node, frontend = Node(), Frontend(clusters(2, 1))
    node.put("k", b"x")
    run("backup", name(node), _file())
    os.rename(_file(), _file("backup.part"))
    _, complaint = run("backup", "--resume", name(frontend), _file(), code=1)
    check("is not of this store" in complaint, complaint)
    with open(_file("backup.part"), "wb") as file:
        file.write(b"something else altogether, that is longer than a frame")
    _, complaint = run("backup", "--resume", name(node), _file(), code=1)
    check("is not of this store" in complaint, complaint)
    with open(_file("backup.part"), "wb") as file:
        file.write(b"a word")
    _, complaint = run("backup", "--resume", name(node), _file(), code=1)
    check("is not of this store" in complaint, complaint)
    run("backup", name(node), _file())


@test
def a_backup_that_is_stopped_says_how_to_go_on():
    node = Node()
    _fill(node, 6_000_000)
    running = start("backup", name(node), _file(), "--rate", "1M")
    until(lambda: size(_file("backup.part")) > MIB, 20, "some of it is there")
    running.process.send_signal(signal.SIGINT)
    code, said = end(running)
    equal(code, 1, "the exit code")
    check(said.endswith(f"velour-fog: Stopped. What was saved so far stays in {_file()}.part; --resume goes on.\n"), said)
    run("backup", name(node), _file(), "--resume")


@test
def a_backup_that_is_stopped_before_it_writes_names_no_file():
    node = Node()
    node.signal(signal.SIGSTOP)
    try:
        running = start("backup", name(node), _file())
        until(lambda: watches_signals(running), 10, "it has begun")
        running.process.send_signal(signal.SIGINT)
        code, said = end(running)
    finally:
        node.signal(signal.SIGCONT)
    equal((code, said), (1, "velour-fog: Stopped before it wrote anything; run it again.\n"), "the exit code, and what it says")
    check(not os.path.exists(_file("backup.part")), "FILE.part is there")


@test
def who_is_not_read_any_more_says_so():
    node = Node()
    _fill(node, 6_000_000)
    process = subprocess.Popen([BINARY, "backup", name(node), _file(), "--rate", "2M"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=environment())
    process.stdout.readline()
    process.stdout.close()
    complaint = process.stderr.read().decode()
    process.stderr.close()
    equal(process.wait(20), 1, "the exit code")
    equal(complaint, f"velour-fog: Stopped. What was saved so far stays in {_file()}.part; --resume goes on.\n", "stderr")


@test
def a_backup_goes_on_with_another_node():
    groups = clusters(1, 2)
    frontend = Frontend(groups)
    wanted = _everything(frontend)
    _fill(frontend, 6_000_000)
    running = start("backup", name(frontend), _file(), "--rate", "4M")
    until(lambda: size(_file("backup.part")) > MIB, 20, "some of it is there")
    max(groups[0], key=lambda node: status(node)["bytes"]["sent"]).kill()  # whom it reads from
    code, said = end(running)
    equal(code, 0, f"the exit code ({said})")
    other = Node()
    run("restore", name(other), _file())
    _check(other, wanted)


def _put_many(node, count, at_once=1000):
    """Small values, pipelined."""
    with socket.create_connection(("127.0.0.1", node.port)) as connection, connection.makefile("rb") as answers:
        for first in range(0, count, at_once):
            connection.sendall(b"".join(b"PUT /many-%d HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx" % at
                                        for at in range(first, first + at_once)))
            ends = 0
            while ends < at_once:
                line = answers.readline()
                check(line, "the connection has ended")
                ends += line == b"\r\n"


@test
def a_node_that_stood_still_is_not_taken_for_all_there_is():
    """It is ready at once, and lacks what was written meanwhile."""
    nodes = cluster(2)
    nodes[1].signal(signal.SIGSTOP)
    _put_many(nodes[0], 150_000)
    until(lambda: members(nodes[0]).get(name(nodes[1])) == "down", UP_SECONDS, "it is down")
    nodes[1].signal(signal.SIGCONT)
    said, _ = run("backup", name(nodes[1]), _file())
    check("Done: 150000 records of 1 partition are in " in said, said)


def _apart():
    """Two members, of which the first one has no memory for all, so that it lacks what came last."""
    ports = [free_port(), free_port()]
    joins = [word for port in ports for word in ("--join", f"127.0.0.1:{port}")]
    small, large = (Node(*joins, "--memory-max", limit, listen=f"127.0.0.1:{port}")
                    for port, limit in zip(ports, ("16M", "64M")))
    settle([small, large])
    with large.connect() as connection:
        for at in range(300):
            equal(connection.ask("PUT", f"/k-{at}", random.randbytes(80_000)).status, 200, "a write")
    check(len(keys_of(small)) < 300, "it has memory for all")
    return small, large


def _check_300():
    """That many keys are in the file."""
    other = Node()
    run("restore", name(other), _file())
    equal(len(keys_of(other)), 300, "the keys of a backup")


def _half_done(node, rate):
    """A backup that goes on."""
    running = start("backup", name(node), _file(), "--rate", rate)
    until(lambda: size(_file("backup.part")) > 3 * MIB or running.process.poll() is not None, 30, "some of it is there")
    return running


@test
def who_cannot_agree_is_read_as_well():
    for node in _apart():
        run("backup", name(node), _file())
        _check_300()


@test
def who_stands_still_while_it_is_read_is_read_again():
    """A fellow that lacks some of it went on meanwhile."""
    small, large = _apart()
    running = _half_done(large, "3M")
    large.signal(signal.SIGSTOP)
    until(lambda: members(small).get(name(large)) == "down", UP_SECONDS, "it is down")
    large.signal(signal.SIGCONT)
    code, said = end(running, 40)
    equal(code, 0, f"the exit code ({said})")
    _check_300()


@test
def a_backup_does_not_go_on_behind_what_one_alone_had():
    """When it was killed, its members did not agree, and it had read some of what one of them has."""
    small, large = _apart()
    running = _half_done(small, "5M")
    running.kill()
    small.kill()
    small.process.wait()
    settle([Node("--join", name(large), "--memory-max", "64M", listen=small.address), large])
    run("backup", name(large), _file(), "--resume")
    _check_300()


@test
def a_member_that_answers_late_is_read_as_well():
    """It alone has some of it, and its network is slow: when the backup begins, and when it has begun."""
    proxy = Proxy()
    port = free_port()
    small = Node("--memory-max", "16M", "--join", f"127.0.0.1:{port}")
    large = Node("--join", name(small), "--advertise", proxy.address, listen=f"127.0.0.1:{port}")
    proxy.target = large.port
    settle([small, large])
    with large.connect() as connection:
        for at in range(300):
            equal(connection.ask("PUT", f"/k-{at}", random.randbytes(80_000)).status, 200, "a write")
    for least in (0, 2 * MIB):
        proxy.hold()
        running = start("backup", name(small), _file(), "--rate", "4M")
        until(lambda: os.path.exists(_file("backup.part")) and size(_file("backup.part")) >= least, 20, "it has begun")
        time.sleep(0.5)
        proxy.go_on()
        code, said = end(running, 40)
        equal(code, 0, f"the exit code ({said})")
        check(max(map(float, re.findall(r"(\d+\.\d) MB/s", said))) < 7, said)
        _check_300()
        os.remove(_file())


@test
def an_address_that_others_have_now_is_passed_over():
    """That of a member that has died."""
    nodes, new = cluster(2), Node()
    nodes[0].put("k", b"x")
    lost = name(nodes[1])
    nodes[1].kill()
    nodes[1].process.wait()
    until(lambda: members(nodes[0]).get(lost) == "down", UP_SECONDS, "it is down")
    for options in (["--cluster-name", "other"], ["--partition", "1/3"]):
        stranger = Node(*options, listen=lost)
        until(lambda stranger=stranger: is_ready(stranger), UP_SECONDS, "the stranger is ready")
        said, _ = run("backup", name(nodes[0]), _file())
        check("Done: 1 record of 1 partition " in said, said)
        run("restore", name(nodes[0]), _file())
        said, _ = run("reshard", "--from", name(nodes[0]), "--to", name(new))
        check("Done: every key of the 1 old cluster is in the 1 new one." in said, said)
        _, complaint = run("reshard", "--from", f"{name(nodes[0])},{lost}", "--to", name(new), code=1)
        check(" is named as " in complaint, complaint)
        stranger.kill()
        stranger.process.wait()


@test
def a_restore_that_was_killed_goes_on():
    node, frontend = Node(), Frontend(clusters(2, 1))
    wanted = _everything(node)
    _fill(node, 8_000_000)
    run("backup", name(node), _file())
    words = ["restore", name(frontend), _file(), "--resume"]
    running = start(*words, "--rate", "2M")
    until(lambda: os.path.exists(_file("backup.progress")) or running.process.poll() is not None, 20, "it is noted")
    running.process.kill()
    running.process.wait()
    equal(running.process.returncode, -signal.SIGKILL, f"the exit code ({end(running)})")
    said, _ = run(*words)
    found = re.match(r"Going on behind (\d+) records, (\d+\.\d) MB\nDone: (\d+) records ", said)
    check(found and int(found.group(1)) > 0 and float(found.group(2)) > 1, said)
    equal(int(found.group(1)) + int(found.group(3)), len(wanted) + 80, "all records")
    check(not os.path.exists(_file("backup.progress")), "FILE.progress is still there")
    _check(frontend, wanted)
    equal(sum(len(keys_of(group[0])) for group in frontend.clusters), len(keys_of(node)), "keys")


@test
def a_node_that_is_killed_takes_nothing_with_it():
    """What it was given and has not told its fellow yet is given once more."""
    source, nodes = Node(), cluster(2)
    _fill(source, 8_000_000)
    run("backup", name(source), _file())
    nodes[1].signal(signal.SIGSTOP)
    running = start("restore", name(nodes[0]), _file(), "--rate", "3M")
    until(lambda: os.path.exists(_file("backup.progress")) or running.process.poll() is not None, 20, "it is noted")
    nodes[0].kill()
    nodes[1].signal(signal.SIGCONT)
    code, said = end(running)
    equal(code, 0, f"the exit code ({said})")
    check(re.search(rf"\nA node was lost, and what it was given may be lost with it: its cluster is given all of {_file()} "
                    r"again; \d+ records were new so far\.\n", said), said)
    equal(sorted(keys_of(nodes[1])), sorted(keys_of(source)), "keys")
    check(not os.path.exists(_file("backup.progress")), "FILE.progress is still there")


@test
def what_was_lost_is_not_passed_over_by_who_goes_on():
    """The node is lost, and the restore stopped before it is back: it is started again without anything."""
    source, node = Node(), Node()
    _fill(source, 8_000_000)
    run("backup", name(source), _file())
    running = start("restore", name(node), _file(), "--rate", "2M")
    until(lambda: os.path.exists(_file("backup.progress")) or running.process.poll() is not None, 20, "it is noted")
    node.kill()
    until(lambda: not os.path.exists(_file("backup.progress")), 5, "there is no note any more")
    running.process.send_signal(signal.SIGINT)
    equal(end(running)[0], 1, "the exit code")
    again = Node(listen=node.address)
    run("restore", name(again), _file(), "--resume")
    equal(len(keys_of(again)), 80, "keys")


@test
def who_is_given_nothing_for_long_is_not_lost():
    """Nodes close what is idle. The file has one partition after the other."""
    frontend = Frontend(clusters(2, 1, "--idle-timeout", "3s"))
    _fill(frontend, 8_000_000)
    run("backup", name(frontend), _file())
    said, _ = run("restore", name(frontend), _file(), "--rate", "1M")
    check("A node was lost" not in said, said)


@test
def what_can_be_read_only_once_is_no_backup():
    node = Node()
    os.mkfifo(_file("pipe"))
    for called in (_file("pipe"), "/dev/null"):
        _, complaint = run("restore", name(node), called, code=1)
        check(complaint.startswith(f"velour-fog: {called} is no file, and what is read only once cannot be checked "), complaint)


@test
def progress_of_another_restore_is_refused():
    node = Node()
    _everything(node)
    run("backup", name(node), _file())
    with open(_file("backup.progress"), "w", encoding="ascii") as file:
        file.write(f"velour-fog restore 1\nof 0000000000000001 5\nto {name(node)}\nat 0 0 0 0 0000000000000000\n")
    _, complaint = run("restore", "--resume", name(node), _file(), code=1)
    check("is of another backup or another store" in complaint, complaint)
    run("restore", name(node), _file())


# --- damaged files, full disks

def _damaged(path, node):
    """What restore says of it; nothing of it may be restored."""
    said, complaint = run("restore", name(node), path, code=1)
    equal(said, "", "stdout")
    found = re.match(rf"velour-fog: {re.escape(path)} is damaged at byte (\d+): ([^.]+)\. Nothing was restored\.", complaint)
    check(found, complaint)
    equal("what is before that place" in complaint, int(found.group(1)) > 0, f"whether something is before that place: {complaint}")
    equal(keys_of(node), [], "what was restored")
    return int(found.group(1)), found.group(2)


@test
def a_damaged_file_changes_nothing():
    node, other = Node(), Node()
    _everything(node)
    run("backup", name(node), _file())
    with open(_file(), "rb") as file:
        whole = file.read()
    for at in (0, 1, 20, HEAD_BYTES, HEAD_BYTES + 25, 300, len(whole) // 2, len(whole) - 150, len(whole) - 60,
               len(whole) - 1):
        with open(_file("bad"), "wb") as file:
            file.write(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1:])
        seen, _ = _damaged(_file("bad"), other)
        check(0 <= seen <= at, f"byte {at} was damaged, and byte {seen} is told")
    for at in (0, 5, HEAD_BYTES, 400, len(whole) // 2, len(whole) - 1):
        with open(_file("bad"), "wb") as file:
            file.write(whole[:at])
        seen, why = _damaged(_file("bad"), other)
        check(seen <= at and ("cut off" in why or "empty" in why), f"cut at {at}: byte {seen}, {why}")
    with open(_file("bad"), "wb") as file:
        file.write(whole + b"more than there should be, by far more than a frame")
    equal(_damaged(_file("bad"), other)[0], len(whole), "where it is damaged")


@test
def files_that_are_not_there():
    node = Node()
    _, complaint = run("restore", name(node), _file("nothing"), code=1)
    equal(complaint, f"velour-fog: Cannot read {_file('nothing')}: No such file or directory.\n", "stderr")
    far = os.path.join(scope().directory(), *["d" * 200] * 4)
    os.makedirs(far)
    said, _ = run("backup", name(node), far + "/file")
    check(f" in {far}/file, " in said and said.endswith(" s\n"), said)
    _, complaint = run("restore", name(node), far + "/nothing", code=1)
    equal(complaint, f"velour-fog: Cannot read {far}/nothing: No such file or directory.\n", "stderr")
    _, complaint = run("backup", name(node), "/no/such/directory/file", code=1)
    equal(complaint, "velour-fog: Cannot write /no/such/directory/file.part: No such file or directory.\n", "stderr")
    nobody = f"127.0.0.1:{free_port()}"
    run("restore", nobody, _file(), code=3)
    run("backup", nobody, _file(), code=3)


@test
def a_full_disk_is_told():
    node = Node()
    _fill(node, 6_000_000)
    running = start("backup", name(node), _file(), preexec_fn=file_limit(2 * MIB))
    code, said = end(running)
    equal(code, 1, "the exit code")
    check(f"Cannot write {_file()}.part: File too large. What is there stays; make room, and go on with --resume." in said,
          said)
    check(0 < size(_file("backup.part")) <= 2 * MIB and not os.path.exists(_file()), "what is there")
    said, _ = run("backup", name(node), _file(), "--resume")
    check(said.startswith("Going on with "), said)
    run("restore", name(node), _file())


@test
def what_is_no_file_is_not_replaced():
    node = Node()
    node.put("k", b"x")
    there = _file("pipe")
    os.mkfifo(there)
    os.symlink(there, _file("link"))
    for called in (there, _file("link"), scope().directory()):
        _, complaint = run("backup", name(node), called, code=1)
        equal(complaint, f"velour-fog: {called} is there, and a link or no regular file: name another one.\n", "stderr")
        check(not os.path.exists(f"{called}.part"), "FILE.part is there")
    check(stat.S_ISFIFO(os.stat(there).st_mode) and os.path.islink(_file("link")), "it was replaced")
    run("backup", name(node), _file())
    run("backup", name(node), _file())


@test
def a_link_is_not_replaced():
    """As /dev/stdout is one, which leads to a regular file when the output goes to one."""
    node = Node()
    node.put("k", b"x")
    run("backup", name(node), _file("whole"))
    os.symlink(_file("whole"), _file("link"))
    os.symlink(_file("nothing"), _file("astray"))
    before = size(_file("whole"))
    node.put("more", b"x" * 1000)
    for called in (_file("link"), _file("astray")):
        _, complaint = run("backup", name(node), called, code=1)
        equal(complaint, f"velour-fog: {called} is there, and a link or no regular file: name another one.\n", "stderr")
        check(os.path.islink(called) and not os.path.exists(f"{called}.part"), "it was replaced, or FILE.part is there")
    check(size(_file("whole")) == before and not os.path.exists(_file("nothing")), "what it leads to was written")
    run("restore", name(node), _file("link"))
    os.symlink(_file("whole"), _file("new.part"))
    _, complaint = run("backup", name(node), _file("new"), code=1)
    check(complaint.startswith(f"velour-fog: Cannot write {_file('new')}.part: "), complaint)
    check(size(_file("whole")) == before and not os.path.lexists(_file("new")), "what FILE.part leads to was written")


@test
def pipes_beside_the_file_are_waited_for_by_nobody():
    node = Node()
    node.put("k", os.urandom(3_000_000))
    run("backup", name(node), _file())
    for called in ("backup.part", "backup.progress", "backup.progress.new"):
        os.mkfifo(_file(called))
    _, complaint = run("backup", name(node), _file(), code=1)
    check(complaint.startswith(f"velour-fog: Cannot write {_file()}.part: "), complaint)
    said, _ = run("restore", name(node), _file(), "--rate", "2M")
    check("progress: No such device or address; --resume will not be possible." in said, said)
    os.mkfifo(_file("backup.progress"))
    _, complaint = run("restore", name(node), _file(), "--resume", code=1)
    check("backup.progress is of another backup or another store" in complaint, complaint)


@test
def a_second_backup_to_the_same_file_is_refused():
    node = Node()
    _fill(node, 6_000_000)
    running = start("backup", name(node), _file(), "--rate", "4M")
    until(lambda: size(_file("backup.part")) > MIB, 20, "some of it is there")
    _, complaint = run("backup", name(node), _file(), code=1)
    equal(complaint, f"velour-fog: Another backup writes {_file()}.part: wait for its end, or name another file.\n", "stderr")
    run("backup", name(node), _file(), "--resume", code=1)
    code, said = end(running)
    equal(code, 0, f"the exit code ({said})")
    run("restore", name(node), _file())


@test
def a_store_without_room_is_told():
    node, small = Node(), Node("--memory-max", "16M")
    _fill(node, 20_000_000)
    run("backup", name(node), _file())
    _, complaint = run("restore", name(small), _file(), code=1)
    check("partition 0 answers with 507" in complaint, complaint)


# --- what it looks like

@test
def a_bar_on_a_terminal():
    node = Node()
    _fill(node, 3_000_000)
    code, seen = on_terminal("backup", name(node), _file(), "--rate", "3M")
    equal(code, 0, "the exit code")
    bars = [line for line in seen.split("\r") if re.search(r"backup: \[#+-+\] \d+\.\d %, \d+\.\d MB, \d+\.\d MB/s, \d+ s left\x1b\[K", line)]
    check(len(bars) > 1, repr(seen))
    for columns in (200, 30):  # each is written over the one before it, also where it does not fit
        screen = rows(seen[:seen.index("\r\nDone")], columns)
        check(len(screen) == 1 and screen[0].startswith("backup: "), f"{columns}: {screen}")
    check(seen.count("\n") == 2 and "\nDone: 30 records" in seen, repr(seen))
    code, seen = on_terminal("restore", name(node), _file(), "--rate", "3M")
    equal(code, 0, "the exit code")
    check(re.search(r"\rrestore: \[#+-+\] \d+\.\d %, 0 new, \d+\.\d MB/s, \d+ s left\x1b\[K", seen), repr(seen))


@test
def a_restore_that_rests_says_for_how_long():
    """All of it is given away at once; what takes time is the rate."""
    node = Node()
    node.put("k", os.urandom(3_000_000))
    run("backup", name(node), _file())
    said, _ = run("restore", name(node), _file(), "--rate", "1M")
    left = re.search(r"^restore: .*, (\d+) s left$", said, re.M)
    check(left and 1 <= int(left.group(1)) <= 3, said)


@test
def lines_elsewhere():
    node = Node()
    _fill(node, 3_000_000)
    said, _ = run("backup", name(node), _file(), "--rate", "1M")
    lines = said.splitlines()
    check(len(lines) >= 3 and all(re.match(r"backup: \d+\.\d %, partition 0 of 1, \d+ records, ", line) for line in lines[:-1]), said)
    check("\x1b" not in said and "\r" not in said and "[" not in said, said)
