"""`velour-fog status` and `velour-fog diff`."""

import http.server
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request

from backup import merge, records_of
from cluster import agree, cluster, status
from command import Running, end, files_limit, name, on_terminal, run, start, watches_signals
from frontend import Frontend, clusters, partition_of
from harness import BINARY, SLOW, Background, Skip, check, equal, scope, test, until
from node import Node, environment, free_port, run_binary
from proxy import Proxy
from test_cluster_clocks import clock_environment


# --- status

@test
def status_of_a_node_alone():
    node = Node()
    node.put("k", b"x")
    said, complaint = run("status", name(node))
    equal(complaint, "", "stderr")
    lines = said.splitlines()
    equal(lines[0], "All is well: 1 member, 1 ready.", "the first line")
    check(lines[2].split()[:5] == ["MEMBER", "STATE", "KEYS", "MEMORY", "REQ/S"] and "PUSHms" in lines[2], said)
    check(re.search(rf"^  {re.escape(name(node))}  ready +1 ", said, re.M), said)
    check("\x1b" not in said and max(map(len, lines)) <= 100, said)


@test
def status_from_a_frontend_tells_of_all_partitions():
    groups = clusters(2, 2)
    frontend = Frontend(groups)
    said, _ = run("status", name(frontend))
    equal(said.splitlines()[0], "All is well: 4 members in 2 partitions, 4 ready.", "the first line")
    for node in [frontend] + groups[0] + groups[1]:
        check(re.search(rf"^  {re.escape(name(node))} +ready ", said, re.M), said)
    first, second = said.index("partition 0 of 2"), said.index("partition 1 of 2")
    check(first < said.index(name(groups[0][0])) < second < said.index(name(groups[1][0])), said)


@test
def status_through_a_proxy_that_closes_after_each_answer():
    node = Node()

    class Closing(http.server.BaseHTTPRequestHandler):
        """HTTP/1.0."""

        def do_GET(self):  # pylint: disable=invalid-name
            """Passes it on."""
            with urllib.request.urlopen(node.url(self.path)) as answer:
                body = answer.read()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers["content-type"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):  # pylint: disable=arguments-differ
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Closing) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        said, complaint = run("status", f"127.0.0.1:{proxy.server_port}")
        proxy.shutdown()
    equal(complaint, "", "stderr")
    equal(said.splitlines()[0], "All is well: 1 member, 1 ready.", "the first line")


def _of_a_stranger(answers, code, *words):
    """What a command says of a server with these answers, by path, in which PORT stands for its own. Others are 404; to None it says nothing,
    and closes."""

    class Stranger(http.server.BaseHTTPRequestHandler):
        """Says what it is told to."""

        def do_GET(self):  # pylint: disable=invalid-name
            """One of the answers."""
            if answers.get(self.path, "") is None:
                return
            body = answers.get(self.path, "\x1b[2JNot\x08\x7f\there.\n").replace("PORT", str(stranger.server_port)).encode("latin-1")
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):  # pylint: disable=arguments-differ
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        seen = run(*(word.replace("PORT", str(stranger.server_port)) for word in words), code=code)
        stranger.shutdown()
    return seen


def _status_of_a_stranger(answers, *words):
    said, complaint = _of_a_stranger(answers, 1, "status", *words, "127.0.0.1:PORT")
    equal(complaint, "", "stderr")
    return said


@test
def status_of_as_many_partitions_as_there_may_be():
    count = 1024
    frontend = Frontend([["127.0.0.1:1"]] * count, *["--next-cluster", "127.0.0.1:1"] * count, ready=False)
    said, complaint = run("status", name(frontend), code=1, seconds=60)
    equal(complaint, "", "stderr")
    check(f": {2 * count} members in {count} partitions, {2 * count} down; keys are to move to {count} partitions.\n" in said, said[:300])


@test
def status_of_who_says_what_nobody_can_believe():
    huge = "1" + "0" * 38
    node = f"""{{"role": "node", "ready": true, "uptime_seconds": {huge}, "keys": 1e300,
        "memory": {{"table_bytes": 1e300, "table_limit_bytes": {huge}}},
        "cluster": {{"phase": "ready", "gathered_permille": 1e300, "members": {{"127.0.0.1:PORT": "ready"}},
        "clock_skew_seconds": {{"127.0.0.1:PORT": -1e300}}}}}}"""
    history = '{"columns": ["requests_per_second", "push_p99_seconds"], "samples": [[1e300, 1e17]]}'
    members = "member 127.0.0.1:PORT ready\nmember \x1b[2Jevil:1 ready\nmember \x9b2J:2 ready\nmember 127.0.0.1:1 ready\n"
    answers = {"/-/status": node, "/-/history": history, "/-/members": members}
    said = _status_of_a_stranger(answers)
    lines = said.splitlines()
    equal(lines[0], "1 problem: 2 members, 1 ready, 1 down.", "the first line")
    check(said.isascii() and "evil" not in said and all(line.isprintable() for line in lines), repr(said))
    check(max(map(len, lines)) < 160, said)
    check(json.loads(_status_of_a_stranger(answers, "--json"))["problem_count"] == 1, "as JSON")


@test
def status_of_who_closes_instead_of_an_answer():
    node = '{"role": "node", "ready": true, "cluster": {"phase": "ready", "members": {}}}'
    answers = {"/-/status": node, "/-/history": None, "/-/members": "member 127.0.0.1:PORT ready\n"}
    said, complaint = _of_a_stranger(answers, 0, "status", "127.0.0.1:PORT")
    equal(complaint, "", "stderr")
    check(said.startswith("All is well: "), said)


@test
def status_of_a_frontend_that_complains_in_other_characters():
    frontend = """{"role": "frontend", "ready": true, "problems": ["one\\ntwo\\r\\b\\u001b[2J\x9b\x7f"],
        "partitions": [{"nodes": {"127.0.0.1:1": {}, "\x9b2J:2": {}, "evil:3": {}}}]}"""
    said = _status_of_a_stranger({"/-/status": frontend, "/-/history": "{}"})
    check("* one?two???[2J??\n" in said and said.isascii() and "evil" not in said, repr(said))


@test
def status_says_who_is_down():
    nodes = cluster(3)
    gone = nodes[1]
    gone.kill()
    gone.process.wait()
    said, _ = run("status", name(nodes[0]), code=1)
    equal(said.splitlines()[:2], ["1 problem: 3 members, 2 ready, 1 down.",
                                  f"* {name(gone)} is down: it refuses connections."], "the first lines")
    check(re.search(rf"^  {re.escape(name(gone))} +down +-", said, re.M), said)


@test
def a_node_that_was_restarted_counts_once():
    """For two seconds the others know of both of its lives."""
    nodes = cluster(3)
    nodes[1].kill()
    nodes[1].process.wait()

    def lives():
        return re.findall(rf"^member {re.escape(nodes[1].address)} (\w+)", nodes[0].call("GET", "/-/members").body.decode(), re.M)

    until(lambda: lives() == ["down"], 10, "it is down")
    Node("--join", nodes[0].address, listen=nodes[1].address)
    until(lambda: sorted(lives()) == ["down", "ready"], 10, "both of its lives are known")
    while "left" not in lives():
        text = nodes[0].call("GET", "/-/metrics").body.decode()
        series = re.findall(r"^(velour_fog_\S+) ", text, re.M)
        equal(sorted(one for one in set(series) if series.count(one) > 1), [], "series that are there twice")
        equal(sum(map(int, re.findall(r"^velour_fog_members\{.*\} (\d+)$", text, re.M))), 3, "members")
        said = run_binary("status", name(nodes[0])).stdout.decode()
        check("hears nothing of it" not in said, said)


@test
def status_says_who_hangs():
    nodes = cluster(2)
    nodes[1].signal(signal.SIGSTOP)
    try:
        said, _ = run("status", name(nodes[0]), code=1)
    finally:
        nodes[1].signal(signal.SIGCONT)
    check(f"* {name(nodes[1])} is down: it does not answer." in said, said)


@test
def who_answers_drop_by_drop_does_not_answer():
    node, ended = Node(), threading.Event()

    class Dripping(http.server.BaseHTTPRequestHandler):
        """Never says nothing for long, and never comes to an end."""

        def do_GET(self):  # pylint: disable=invalid-name
            """As of an answer that is to come."""
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            while not ended.wait(0.5):
                self.wfile.write(b" ")

        def log_message(self, *_):  # pylint: disable=arguments-differ
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        _, complaint = run("diff", name(node), address, code=3)
        ended.set()
        server.shutdown()
    equal(complaint, f"velour-fog: {address} does not answer.\n", "stderr")


@test
def status_that_is_stopped_before_it_knows_is_not_well():
    node = Node()
    node.signal(signal.SIGSTOP)
    try:
        for words in (["status", name(node)], ["status", name(node), "--watch"]):
            running = start(*words)
            until(lambda running=running: watches_signals(running), 10, "it has begun")
            running.process.terminate()
            code, said = end(running)
            equal((code, said), (1, "velour-fog: Stopped before all had answered.\n"), "the exit code, and what it says")
    finally:
        node.signal(signal.SIGCONT)


@test
def status_that_has_no_descriptors_says_so():
    """It blames no server for it."""
    node = Node()
    for limit in range(4, 20):
        running = start("status", name(node), preexec_fn=files_limit(limit))
        code, said = end(running)
        if "cannot start" not in said:
            break
    equal((code, said), (3, f"velour-fog: {name(node)} cannot be asked: this process may open no more files (ulimit -n).\n"),
          f"the exit code with {limit} files, and what it says")


def _on_closed_terminal(*words, **rest):
    """A command whose terminal is closed once it has shown something."""
    reading, writing = pty.openpty()
    process = subprocess.Popen([BINARY, *words], stdin=writing, stdout=writing, stderr=subprocess.PIPE,
                               env=environment(), **rest)
    os.close(writing)
    scope().nodes.insert(0, Running(process))
    os.read(reading, 65536)
    os.close(reading)
    return process


@test
def watching_ends_with_its_terminal():
    node = Node()
    process = _on_closed_terminal("status", name(node), "--watch", "--interval", "100ms")
    until(lambda: process.poll() is not None, 10, "it ends, as nobody can see it")
    process = _on_closed_terminal("status", name(node), "--watch", "--interval", "1h")
    process.send_signal(signal.SIGHUP)
    until(lambda: process.poll() is not None, 10, "it ends, as it is told of that")


@test
def who_is_started_with_nohup_goes_on():
    node = Node()
    running = start("status", name(node), "--watch", "--interval", "1h",
                    preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    running.process.stdout.readline()
    running.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    check(running.process.poll() is None, "it has ended")
    running.process.terminate()
    equal(end(running)[0], 0, "the exit code")


@test
def status_says_who_gathers():
    proxy = Proxy()
    proxy.pace = 1_000_000
    donor = Node("--advertise", proxy.address)
    proxy.target = donor.port
    for i in range(100):
        donor.put(f"k-{i}", bytes(100_000))
    newcomer = Node("--join", proxy.address)
    until(lambda: status(newcomer)["cluster"]["gathered_permille"] >= 100, 10, "it gathers")
    said, _ = run("status", name(newcomer), code=1)
    check(re.search(rf"^  {re.escape(name(newcomer))} +gathering \d+% ", said, re.M), said)
    check(re.search(rf"^\* {re.escape(name(newcomer))} is not ready: it is gathering all keys from its cluster, "
                    r"\d+\.\d %\.$", said, re.M), said)


@test
def status_says_that_a_partition_is_lost():
    groups = clusters(2, 1)
    frontend = Frontend(groups)
    groups[1][0].kill()
    groups[1][0].process.wait()
    said, _ = run("status", name(frontend), code=1)
    check("* No node of the partition 1 of 2 is ready: its keys cannot be reached." in said, said)
    check(f"* {name(groups[1][0])} is down" in said, said)


@test
def status_says_whose_clock_is_wrong():
    nodes = cluster(1)
    nodes.append(Node("--join", name(nodes[0]), env=clock_environment(FAKETIME="+7s")))
    until(lambda: b" ready " in nodes[1].call("GET", "/-/members").body.splitlines()[-1], 10, "they know each other")
    until(lambda: "event=clock-skew" in "\n".join(nodes[0].lines), 10, "the clock is seen to be wrong")
    said, _ = run("status", name(nodes[0]), code=1)
    check(re.search(r"^\* The clock of \S+ is (6\.9|7\.\d) s (ahead of|behind) that of \S+\.$", said, re.M), said)


@test
def status_says_what_a_frontend_has_to_complain_of():
    groups = clusters(2, 1)
    frontend = Frontend([groups[1], groups[0]], ready=False)
    until(lambda: b"wrong" in frontend.call("GET", "/").body, 10, "the front-end has found out")
    said, _ = run("status", name(frontend), code=1)
    check("was named for partition 0/2, and says that it is of 1/2" in said, said)


@test
def status_of_nobody():
    said, complaint = run("status", f"127.0.0.1:{free_port()}", code=3)
    equal(said, "", "stdout")
    check(re.fullmatch(r"velour-fog: 127\.0\.0\.1:\d+ refuses connections\.\n", complaint), complaint)
    _, complaint = run("status", "no-such-host.invalid:8000", code=3)
    check("its name is not known" in complaint, complaint)
    run("status", "nonsense", code=2)


@test
def what_cannot_be_printed_is_told():
    node = Node()
    for words in (["status", name(node)], ["status", "--json", name(node)], ["--help"], ["--version"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([BINARY, *words], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, check=False)
        equal(done.returncode, 1, f"the exit code of {' '.join(words)}")
        check(words[0] != "status" or done.stderr == b"velour-fog: cannot print: No space left on device.\n", done.stderr)


@test
def status_of_what_is_no_velour_fog():
    frontend = Frontend([["127.0.0.1:1"]], ready=False)
    with subprocess.Popen(["python3", "-c", "import http.server as h, sys; s = h.HTTPServer(('127.0.0.1', 0), "
                           "h.SimpleHTTPRequestHandler); print(s.server_port, flush=True); s.serve_forever()"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=scope().directory()) as server:
        try:
            _, complaint = run("status", f"127.0.0.1:{int(server.stdout.readline())}", code=3)
        finally:
            server.kill()
    check("is no Velour Fog" in complaint, complaint)
    said, _ = run("status", name(frontend), code=1)
    check("No node of the partition 0 of 1 is ready" in said, said)


@test
def status_as_json():
    groups = clusters(2, 1)
    frontend = Frontend(groups)
    said, _ = run("status", "--json", name(frontend))
    if not shutil.which("jq"):
        raise Skip("jq is not on this machine")
    checked = subprocess.run(["jq", "-e", "."], input=said.encode(), stdout=subprocess.DEVNULL, check=False)
    equal(checked.returncode, 0, "the exit code of jq")
    seen = json.loads(said)
    equal((seen["well"], seen["problems"], seen["asked"]), (True, [], name(frontend)), "the head of it")
    equal(seen["frontend"]["role"], "frontend", "the front-end's own status")
    until(lambda: run("status", "--json", name(frontend))[0].count('"requests_per_second"') == 2, 5,
          "it is known what was measured")
    seen = json.loads(run("status", "--json", name(frontend))[0])
    members = [part["members"] for part in seen["partitions"]]
    equal([[member["address"] for member in part] for part in members], [[name(group[0])] for group in groups],
          "the addresses")
    for part in members:
        equal((part[0]["state"], part[0]["status"]["ready"], part[0]["clock_skew_seconds"]), ("ready", True, 0),
              "a member")
        check(part[0]["requests_per_second"] >= 0, part[0]["requests_per_second"])
    groups[1][0].kill()
    groups[1][0].process.wait()
    seen = json.loads(run("status", "--json", name(frontend), code=1)[0])
    equal((seen["well"], seen["partitions"][1]["members"][0]["state"]), (False, "down"), "with one down")
    check(seen["problem_count"] == len(seen["problems"]) > 0, seen["problems"])


@test
def colours_are_for_terminals():
    node = Node()
    plain, _ = run("status", name(node))
    check("\x1b" not in plain, plain)
    code, seen = on_terminal("status", name(node))
    equal(code, 0, "the exit code")
    check("\x1b[32mready\x1b[0m" in seen and "\x1b[1;32mAll is well\x1b[0m" in seen, repr(seen))
    equal(re.sub(r"\x1b\[[0-9;]*m", "", seen).replace("\r\n", "\n").splitlines()[0], plain.splitlines()[0],
          "the first line without colours")
    _, seen = on_terminal("status", name(node), env={"NO_COLOR": "1"})
    check("\x1b" not in seen, repr(seen))


@test
def watch_goes_on_until_it_is_stopped():
    nodes = cluster(2)
    running = start("status", name(nodes[0]), "--watch", "--interval", "100ms")
    said = b""
    while said.count(b"All is well: 2 members, 2 ready.") < 3:
        said += os.read(running.process.stdout.fileno(), 65536)
    nodes[1].kill()
    while b"1 down" not in said:
        said += os.read(running.process.stdout.fileno(), 65536)
    nodes[0].kill()  # who was asked; it goes on with whom it knows
    while b"2 down" not in said:
        said += os.read(running.process.stdout.fileno(), 65536)
    running.process.send_signal(signal.SIGINT)
    code, rest = end(running)
    equal(code, 1, "the exit code")
    last = (said.decode() + rest).split(" 2 down.")[-1]
    check("* No node of the cluster is ready: its keys cannot be reached.\n" in last, last)
    for node in nodes:
        check(re.search(rf"^  {re.escape(name(node))} +down ", last, re.M), last)


@test
def watch_ends_when_nobody_reads_it():
    node = Node()
    running = start("status", name(node), "--watch", "--interval", "50ms")
    running.process.stdout.close()
    running.process.wait(10 * SLOW)


# --- diff

def _diff(first, second, *options, code):
    said, complaint = run("diff", name(first), name(second), *options, code=code)
    equal(complaint, "", "stderr")
    return said


@test
def diff_of_equals():
    nodes = cluster(2)
    for i in range(20):
        nodes[0].put(f"k-{i}", b"x")
    agree(nodes)
    equal(_diff(*nodes, code=0), f"{name(nodes[0])} and {name(nodes[1])} hold the same, 20 records.\n", "what it says")


@test
def diff_names_exactly_what_differs():
    left, right = Node(), Node()
    for i in range(300):
        left.put(f"same-{i}", b"x")
    left.put("gone", b"x")
    merge(right, records_of(left))
    left.put("only-left", b"12345")
    right.put("only-right%2F%C3%A4%20", b"")
    left.put("both", b"one")
    right.put("both", b"three")
    right.delete("gone")
    versions = {key: left.get(key).fog_version() for key in ("both", "only-left", "gone")}
    right_versions = {"both": right.get("both").fog_version(), "right": right.get("only-right%2F%C3%A4%20").fog_version()}
    lines = _diff(left, right, code=1).splitlines()
    equal(lines[:2], [f"--- {name(left)}", f"+++ {name(right)}"], "the first lines")
    equal(lines[-1], "4 keys differ.", "the last line")
    deleted = next(line for line in lines if line.startswith("+ gone"))
    check(re.fullmatch(r"\+ gone  deleted, version \d{16}", deleted), deleted)
    equal(sorted(lines[2:-1]), sorted([
        f"- both  3 bytes, version {versions['both']}", f"+ both  5 bytes, version {right_versions['both']}",
        f"- only-left  5 bytes, version {versions['only-left']}", "+ only-left  absent",
        "- only-right/%C3%A4%20  absent",
        f"+ only-right/%C3%A4%20  0 bytes, version {right_versions['right']}",
        f"- gone  1 byte, version {versions['gone']}", deleted]), "the keys")


@test
def diff_has_a_limit():
    left, right = Node(), Node()
    for i in range(50):
        left.put(f"k-{i}", b"x")
    said = _diff(left, right, "--limit", "7", code=1)
    equal(said.count("absent"), 7, "the keys that are named")
    check(said.endswith("7 keys differ, and perhaps more (--limit).\n"), said)
    said = _diff(left, right, code=1)
    equal(said.count("absent"), 50, "the keys that are named")
    check(said.endswith("50 keys differ.\n"), said)


@test
def diff_does_not_name_what_is_on_its_way():
    left, right = Node(), Node()
    left.put("lasting", b"x")
    done = [False]

    def write():
        with left.connect() as first, right.connect() as second:
            count = 0
            while not done[0]:
                for connection in (first, second):
                    connection.ask("PUT", f"/moving-{count % 20}", b"%d" % count)
                count += 1

    writer = Background(write)
    until(lambda: right.get("moving-19").status == 200, 10, "it is being written")
    try:
        said = _diff(left, right, code=1)
    finally:
        done[0] = True
    writer.result()
    check("- lasting  1 byte" in said and "moving-" not in said, said)
    check(re.search(r"^Writes are under way: \d+ more keys were not the same just now\.$", said, re.M), said)


def _last_key():
    """One of the last shards' keys, which diff comes to last."""
    with Node().connect() as connection:
        for at in range(20_000):
            connection.ask("PUT", f"/moving-{at}", b"x")
            digests = [line.split()[1] for line in connection.ask("GET", "/-/digest/7f").body.split(b"\n")[28:-1]]
            if any(digest.strip(b"0") for digest in digests):
                return f"moving-{at}"
    raise AssertionError


@test
def diff_looks_at_each_shard_twice_a_second_apart():
    """The first look goes through many that have come to be the same, which takes longer than that, and the second one does not."""
    left, right, source, proxy = Node(), Node(), Node(), Proxy()
    with left.connect() as connection:
        for at in range(2000):
            connection.ask("PUT", f"/k-{at}", b"x")
    rest, key, done = records_of(left), _last_key(), [False]

    def write():
        while not done[0]:
            source.put(key, b"%d" % time.monotonic_ns())
            records = records_of(source)
            for node in (left, right):  # it is on its way for most of the time
                merge(node, records)
                time.sleep(0.6 if node is left else 0.02)

    proxy.target, proxy.pace = right.port, 60_000
    writer = Background(write)
    try:
        said = Background(lambda: _diff(left, proxy.address, code=0))
        time.sleep(5)
        merge(right, rest)
        said = said.result()
    finally:
        done[0] = True
    writer.result()
    check("hold the same" in said, said)


@test
def diff_names_what_one_side_lacks_however_often_it_is_written():
    """Nobody tells the other one of it."""
    left, right = Node(), Node()
    right.put("k", b"old")
    left.put("k", b"new")
    done = [False]

    def write():
        with left.connect() as connection:
            while not done[0]:
                connection.ask("PUT", "/k", b"%d" % time.monotonic_ns())
                time.sleep(0.01)

    writer = Background(write)
    try:
        said = _diff(left, right, code=1)
    finally:
        done[0] = True
    writer.result()
    check("+ k  3 bytes, version " in said and said.endswith("\n1 key differs.\n"), said)


@test
def diff_with_who_does_not_answer():
    left, right = Node(), Node()
    right.signal(signal.SIGSTOP)
    said, complaint = run("diff", name(left), name(right), code=3)
    right.signal(signal.SIGCONT)
    equal((said, complaint), ("", f"velour-fog: {name(right)} does not answer.\n"), "what it says")


@test
def diff_of_two_partitions_says_so():
    """Who compares them by mistake would take all keys for lost."""
    left, right, whole, one = Node("--partition", "0/2"), Node("--partition", "1/2"), Node(), Node("--partition", "0/1")
    for key in (f"k-{number}" for number in range(8)):
        (left if partition_of(key, 2) == 0 else right).put(key, b"x")
    hint = "each has keys of its own. Name two nodes of one partition."
    for other, what in ((right, "partition 1/2"), (whole, "all keys"), (one, "all keys")):
        said = _diff(left, other, code=1)
        equal(said.splitlines()[-1], f"{name(left)} holds partition 0/2, {name(other)} holds {what}: {hint}", "the last line")
    check("differ" in said, said)
    one.put("k", b"x")
    merge(whole, records_of(one))
    equal(_diff(whole, one, code=0), f"{name(whole)} and {name(one)} hold the same, 1 record.\n", "all keys, said in two ways")


@test
def diff_with_another_program_shows_none_of_its_html():
    page = "<!DOCTYPE HTML>\n<p>Hello"
    said, complaint = _of_a_stranger({"/-/digest": page}, 3, "diff", name(Node()), "127.0.0.1:PORT")
    check(said == "" and complaint.endswith("is not known here.\n"), complaint)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        _, complaint = run("diff", name(Node()), address, code=3)
        server.shutdown()
    equal(complaint, f"velour-fog: {address} is no Velour Fog: it answers to /-/digest with 404, and with a page of HTML.\n", "it")


@test
def diff_with_a_stranger_leaves_the_terminal_alone():
    node = Node()
    _, complaint = _of_a_stranger({}, 3, "diff", name(node), "127.0.0.1:PORT")
    check(complaint.isascii() and complaint[:-1].isprintable() and "with 404: ?[2JNot???here." in complaint, repr(complaint))


@test
def diff_with_who_does_not_tell_how_long_a_value_is():
    """What was answered before it is no reason."""
    node, other = Node(), Node()
    node.put("k", b"x")
    other.put("k", b"y")
    answers, part = {}, ""
    for level in range(3):
        path = "/-/digest" + part
        with urllib.request.urlopen(other.url(path)) as answer:
            answers[path] = answer.read().decode()
        words = [line.split() for line in answers[path].splitlines()]
        if level < 2:
            part = "/" + next(word[0] for word in words if word[0] != "all" and word[1].strip("0"))
    said, complaint = _of_a_stranger(answers, 3, "diff", name(node), "127.0.0.1:PORT")
    check(said == "" and complaint.endswith(" answers to /k with 501.\n"), complaint)


@test
def diff_of_very_many_deletes_in_one_shard():
    node, count = Node(), 20_000
    groups = "".join(f"{i:02x} {i == 3:016x}\n" for i in range(128))
    answers = {
        "/-/digest": f"all {1:016x} records 0\n{groups}",
        "/-/digest/03": "".join(f"03/{line}\n" for line in groups.splitlines()),
        "/-/digest/03/03": "".join(f"{at:016x} 12 deleted k-{at}\n" for at in range(1, count + 1)),
    }
    said, complaint = _of_a_stranger(answers, 1, "diff", "--limit", "1000000", name(node), "127.0.0.1:PORT")
    check(complaint == "" and said.endswith(f"\n{count} keys differ.\n"), (said[-200:], complaint))


@test
def diff_with_who_leaves_lines_out_is_no_proof():
    node = Node()
    node.put("k", b"x")
    whole = node.call("GET", "/-/digest").body.decode()
    group = next(line for line in whole.splitlines()[1:] if not line.split()[1].strip("0") == "").split()[0]
    fewer = {"/-/digest": "".join(line for line in whole.splitlines(True) if not line.startswith(group))}
    odd = {"/-/digest": whole.replace(f"\n{group} ", f"\n{group} 1"), f"/-/digest/{group}": "\0" * 20_000}
    for answers, what in ((fewer, "/-/digest"), (odd, f"/-/digest/{group}"), ({"/-/digest": "\0" * 20_000}, "/-/digest")):
        said, complaint = _of_a_stranger(answers, 3, "diff", name(node), "127.0.0.1:PORT")
        check(said == "" and complaint.endswith(f" answers to GET {what} is not known here.\n"), said + complaint)


@test
def diff_is_of_nodes():
    groups = clusters(1, 1)
    frontend = Frontend(groups)
    _, complaint = run("diff", name(groups[0][0]), name(frontend), code=3)
    check("answers to /-/digest with 404: Only nodes have that" in complaint, complaint)
    run("diff", name(frontend), code=2)
