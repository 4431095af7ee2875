"""What a front-end tells of itself: status, metrics, and the front page."""

import json
import os
import re
import signal
import socketserver
import threading
import time

from client import MIB, curl_reply, request
from command import run
from frontend import Frontend, address, clusters, key_of
from harness import SLOW, Background, check, equal, fresh, register, scope, test, until
from node import Node
from served import common
from test_watch import BROWSER, metrics_of, pass_promtool

SOON = 2
DEAD = 9  # a port of 127.0.0.1 where nobody listens


def _status(frontend):
    answer = frontend.call("GET", "/-/status")
    equal((answer.status, answer.kind()), (200, "application/json"), "status and type")
    return json.loads(answer.body)


def _lines(frontend):
    return frontend.call("GET", "/").body.decode()


def _metric(frontend, name, **labels):
    """The value of the one sample that has these labels and no others."""
    found = [value for seen, its, value in metrics_of(frontend) if seen == name and its == labels]
    equal(len(found), 1, f"the number of samples {name} {labels}")
    return found[0]


def _state(frontend, partition, node):
    """How a node is, as the status says."""
    return _status(frontend)["partitions"][partition]["nodes"].get(address(node), {}).get("state")


# --- who is there

@test
def status_tells_of_partitions_and_nodes():
    groups = clusters(2, 2)
    frontend = Frontend(groups, "--value-max", "1M")
    for number in range(5):
        frontend.put(key_of(1, 2, f"a{number}"), b"x")
    status = _status(frontend)
    equal((status["role"], status["ready"], status["draining"], status["problems"]), ("frontend", True, False, []),
          "role, ready, draining, problems")
    equal([one["number"] for one in status["partitions"]], [0, 1], "the partitions")
    equal((status["previous_partitions"], status["next_partitions"]), ([], []), "the previous partitions, and the next")
    for partition, members in enumerate(groups):
        one = status["partitions"][partition]
        equal((one["reached"], one["failures"], one["in_flight"], one["parked"]), (True, 0, 0, 0), f"partition {partition}")
        equal(one["node_counts"], {"wrong_partition": 0, "down": 0, "unready": 0, "ready": 2, "alias": 0}, "the counts")
        equal(set(one["nodes"]), {address(node) for node in members}, "the nodes")
        for node in one["nodes"].values():
            equal((node["state"], node["says"]), ("ready", f"{partition}/2"), "state, and what it says")
            check(node["connections"] >= 1, f"a node has no connection: {node}")
    equal([one["requests"] for one in status["partitions"]], [0, 5], "requests for keys of each partition")
    equal(sum(node["requests"] for node in status["partitions"][1]["nodes"].values()), 5, "requests to the nodes of one")
    equal(status["limits"]["value_max_bytes"], MIB, "the largest value")
    check(status["requests"]["total"] >= 5 and status["connections"]["accepted"] >= 5, f"the status is {status}")
    check(0 < status["memory"]["process_resident_bytes"] < 100 * SLOW * MIB, f"its memory is {status['memory']}")
    check(0 <= status["uptime_seconds"] < 60 * SLOW, f"the uptime is {status['uptime_seconds']}")


@test
def a_partition_that_is_lost_is_told_of_and_so_is_its_return():
    groups = clusters(2, 1)
    frontend = Frontend(groups)
    port = groups[1][0].port
    groups[1][0].kill()
    until(lambda: _state(frontend, 1, groups[1][0]) == "down", SOON, "the status says that the node is down")
    status = _status(frontend)
    equal([one["reached"] for one in status["partitions"]], [True, False], "which are reached")
    equal(status["problems"], ["No node of partition 1 is ready: requests for its keys get 503."], "the problems")
    equal(status["ready"], True, "ready")
    equal([_metric(frontend, "velour_fog_frontend_partition_reached", partition=text) for text in "01"], [1, 0],
          "the metrics of which are reached")
    equal(_metric(frontend, "velour_fog_frontend_nodes", partition="1", state="down"), 1, "nodes that are down")
    check(re.search(r"^partition 1: NOT REACHED\n  \S+ down$", _lines(frontend), re.M), _lines(frontend))
    check("ready for 1 of 2 partitions" in _lines(frontend), _lines(frontend))
    check(status["problems"][0] in _lines(frontend), "the text does not have the problem")
    Node("--partition", "1/2", listen=f"127.0.0.1:{port}")
    until(lambda: _status(frontend)["problems"] == [], SOON + 2, "the problem is gone")
    equal([one["reached"] for one in _status(frontend)["partitions"]], [True, True], "which are reached")


@test
def one_that_reaches_nothing_says_so():
    frontend = Frontend([[f"127.0.0.1:{DEAD}"]], ready=False)
    status = _status(frontend)
    equal((status["ready"], len(status["problems"])), (False, 1), "ready, and the number of problems")
    equal(_metric(frontend, "velour_fog_ready"), 0, "ready in the metrics")
    check("\nnot ready, up " in _lines(frontend), _lines(frontend))
    pass_promtool(frontend)


# --- wrong set-ups

def _told_of_wrong(frontend, partition, node, sentence):
    """All three must say it: status, metrics, and the page in both of its forms."""
    until(lambda: _state(frontend, partition, node) == "wrong_partition", SOON, "the status says that a node is wrong")
    status = _status(frontend)
    check(any(sentence in problem and address(node) in problem for problem in status["problems"]), f"{status['problems']}")
    equal(status["partitions"][partition]["node_counts"]["wrong_partition"], 1, "how many are wrong")
    equal(_metric(frontend, "velour_fog_frontend_nodes", partition=str(partition), state="wrong_partition"), 1,
          "how many are wrong, in the metrics")
    equal(_metric(frontend, "velour_fog_frontend_node_wrong_partition", partition=str(partition), node=address(node)), 1,
          "whether this one is")
    text = _lines(frontend)
    check(sentence in text and "wrong partition" in text, f"no '{sentence}' in {text[-2000:]}")


@test
def clusters_in_the_wrong_order_are_told_of():
    groups = clusters(2, 1)
    frontend = Frontend(groups[::-1], ready=False)
    for partition, members in enumerate(groups[::-1]):
        _told_of_wrong(frontend, partition, members[0],
                       f"was named for partition {partition}/2, and says that it is of {1 - partition}/2")
    equal(_status(frontend)["ready"], False, "ready")
    check("requests for its keys get 502." in _lines(frontend), _lines(frontend))
    equal(frontend.call("PUT", "/k", b"x").status, 502, "the status of a write")
    pass_promtool(frontend)


@test
def nodes_that_are_no_cluster_are_told_of():
    """Also what a backup through it says; it serves as before, until they are one."""
    nodes = [Node(), Node()]
    frontend = Frontend([nodes])
    path = os.path.join(scope().directory(), "backup")
    nodes[0].put("k", b"x")
    equal(_status(frontend)["problems"], [], "problems, as long as one may be about to join")
    problems = until(lambda: _status(frontend)["problems"], 15, "the status says so")
    equal(problems, [f"{address(nodes[1])} and {address(nodes[0])} are asked for partition 0, and neither is a member of the "
                     "other's cluster: correct --join or --cluster-name of one of the two, or --cluster."], "the problems")
    told = [(node["apart"], node["state"]) for node in _status(frontend)["partitions"][0]["nodes"].values()]
    equal(sorted(told), [(False, "ready"), (True, "ready")], "how they are")
    for node, apart in zip(nodes, (0, 1)):
        equal(_metric(frontend, "velour_fog_frontend_node_apart", partition="0", node=address(node)), apart, "the metric")
    check(f"* {problems[0]}" in run("status", address(frontend), code=1)[0], "what status says")
    for command in ("backup", "restore"):
        _, complaint = run(command, address(frontend), path, code=1)
        check(f"{address(nodes[1])} is of another cluster than the nodes beside it" in complaint, complaint)
    run("backup", address(nodes[0]), path)
    time.sleep(0.6)
    equal(frontend.count_log(r" level=warn event=nodes-apart .* do=\"correct --join"), 1, "lines in the log")
    nodes[1].kill()
    nodes[1].process.wait()
    Node("--join", address(nodes[0]), listen=nodes[1].address)
    until(lambda: _status(frontend)["partitions"][0]["node_counts"]["ready"] == 2, 10, "it is back")
    equal(_status(frontend)["problems"], [], "problems")
    run("backup", address(frontend), path)


@test
def a_node_of_another_cluster_is_not_asked():
    """Where a member was."""
    first = Node()
    second = Node("--join", address(first))
    frontend = Frontend([[first]])
    until(lambda: _status(frontend)["partitions"][0]["node_counts"]["ready"] == 2, 10, "both are asked")
    keys = [f"k{i}" for i in range(50)]
    for key in keys:
        frontend.put(key, b"x", "Prefer: copies=all")  # else the last one may have been on its way
    second.kill()
    second.process.wait()
    stranger = Node("--cluster-name", "other", listen=second.address)
    frontend.wait_log(r" level=error event=wrong-cluster partition=0 .* do=\"correct --cluster", 10, "line about it")
    for key in keys:
        equal(frontend.get(key).body, b"x", f"the value of {key}")
        frontend.put(key, b"y")
    equal(stranger.call("GET", "/-/keys").body, b"", "the keys of the other cluster")
    node = _status(frontend)["partitions"][0]["nodes"][address(stranger)]
    equal((node["state"], node["apart"]), ("unready", True), "how it is")
    equal(_metric(frontend, "velour_fog_frontend_node_apart", partition="0", node=address(stranger)), 1, "the metric")
    check("is of another cluster (--cluster-name)" in run("status", address(frontend), code=1)[0], "what status says")


@test
def a_node_without_its_partition_is_told_of():
    groups = clusters(2, 1)
    stranger = Node()
    frontend = Frontend([[groups[0][0], address(stranger)], groups[1]], ready=False)
    _told_of_wrong(frontend, 0, stranger, "was named for partition 0/2, and knows of no partition")
    until(lambda: _status(frontend)["ready"], SOON, "it is ready for what the others hold")


def _other_cluster_is_wrong(word):
    groups = clusters(2, 1)
    frontend = Frontend(groups, f"--{word}-cluster", address(groups[0][0]), ready=False)
    sentence = f"was named for partition 0/1, and says that it is of 0/2: the order or number of --{word}-cluster"
    until(lambda: any(sentence in problem for problem in _status(frontend)["problems"]), SOON, "a problem")
    equal(_status(frontend)[f"{word}_partitions"][0]["node_counts"]["wrong_partition"], 1, "how many are wrong")
    equal(_metric(frontend, "velour_fog_frontend_nodes", partition=f"{word}-0", state="wrong_partition"), 1,
          "how many are wrong, in the metrics")
    check(sentence in _lines(frontend) and f"{word} 0: NOT REACHED" in _lines(frontend), _lines(frontend))
    equal(frontend.count_log(f"event=wrong-partition {word}=0 .*the order and number of --{word}-cluster"), 1, "lines of the log")
    pass_promtool(frontend)


@test
def a_previous_cluster_that_is_wrong_is_told_of():
    _other_cluster_is_wrong("previous")


@test
def a_next_cluster_that_is_wrong_is_told_of():
    _other_cluster_is_wrong("next")


# --- nodes that say strange things

class _Impostor(socketserver.ThreadingTCPServer):
    """Answers /-/ready with a status, and /-/members with a partition of the test's choice."""

    daemon_threads = True

    def __init__(self, ready, partition):
        super().__init__(("127.0.0.1", 0), None)
        self.port = self.server_address[1]
        self.answers = {b"/-/ready": (ready, b"so it is\n"), b"/-/members": (
            b"200 OK", b"cluster fog\npartition " + partition + b"\nmember 127.0.0.1:%d ready 00000000000000aa 1\n" % self.port)}
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def finish_request(self, client, _):
        """Speaks HTTP, as far as it is needed here."""
        with client.makefile("rb") as lines:
            for line in lines:
                if not line.startswith(b"GET "):
                    continue
                status, body = self.answers[line.split()[1]]
                client.sendall(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))

    def handle_error(self, *_):
        """The connection has ended."""

    def finish(self):
        """At the end of the test."""
        self.shutdown()
        self.server_close()
        return []


def _impostor(ready, partition):
    one = _Impostor(ready, partition)
    scope().nodes.append(one)
    return one


@test
def a_node_that_does_not_want_requests_is_unready():
    one = _impostor(b"503 Not Now", b"-")
    frontend = Frontend([[address(one)]], ready=False)
    until(lambda: _state(frontend, 0, one) == "unready", SOON, "it is unready")
    equal(_metric(frontend, "velour_fog_frontend_nodes", partition="0", state="unready"), 1, "nodes that are unready")
    equal(_metric(frontend, "velour_fog_frontend_node_usable", partition="0", node=address(one)), 0, "usable")
    check(f"  {address(one)} unready\n" in _lines(frontend), _lines(frontend))


@test
def what_a_node_says_does_no_harm():
    one = _impostor(b"200 OK", b'<b>\'\\\x1b[31m\xff0/2')
    other = _impostor(b"200 OK", b'<b>"/2')  # what follows in quotes is no line of its own, so it says nothing that makes sense
    frontend = Frontend([[address(one)], [address(other)], [f"127.0.0.1:{DEAD}"]], ready=False)
    until(lambda: _state(frontend, 0, one) == "wrong_partition", SOON, "it is of the wrong partition")
    until(lambda: frontend.count_log("event=node-foreign") == 1, SOON, "it is no node")
    equal((_state(frontend, 1, other), frontend.count_log("event=wrong-partition")), ("down", 1), "what is said of it")
    says = _status(frontend)["partitions"][0]["nodes"][address(one)]["says"]
    check(re.fullmatch(r"[?]+/?[?0-9/]*", says), f"it says {says!r}")
    for text in (_lines(frontend), "\n".join(frontend.lines)):
        check("<b>" not in text and "\x1b" not in text, "its words are passed on")
    pass_promtool(frontend)


# --- what happens to requests

@test
def what_is_tried_again_is_counted():
    groups = clusters(1, 2)
    frontend = Frontend(groups)
    for number in range(20):
        frontend.put(f"k{number}", b"x")
    with frontend.connect() as connection:
        os.kill(groups[0][0].process.pid, signal.SIGSTOP)
        connection.send(b"".join(request("GET", f"/k{number}") for number in range(20)))
        connection.statuses(20)
    os.kill(groups[0][0].process.pid, signal.SIGCONT)
    status = _status(frontend)
    check(1 <= status["relays"]["retries"] <= 20, f"retries: {status['relays']}")
    equal(status["partitions"][0]["failures"], status["relays"]["retries"], "failures")
    equal(_metric(frontend, "velour_fog_frontend_retries_total"), status["relays"]["retries"], "retries in the metrics")
    equal(_metric(frontend, "velour_fog_frontend_node_failures_total", partition="0", node=address(groups[0][0])),
          status["relays"]["retries"], "failures of the node")
    equal(status["relays"]["unanswered"], 0, "those that got no answer")
    equal(status["relays"]["in_progress"], 0, "those in progress")


@test
def who_waits_for_a_node_is_counted():
    groups = clusters(1, 1)
    frontend = Frontend(groups)
    port = groups[0][0].port
    groups[0][0].kill()
    until(lambda: _state(frontend, 0, groups[0][0]) == "down", SOON, "the node is down")
    with frontend.connect() as connection:
        connection.send(request("GET", "/k"))
        until(lambda: _status(frontend)["relays"]["parked"] == 1, SOON, "the request waits")
        answer = connection.reply()
    equal(answer.status, 503, "the status")
    status = _status(frontend)
    equal((status["relays"]["unanswered"], status["partitions"][0]["parked"]), (1, 0), "unanswered, and parked now")
    equal(_metric(frontend, "velour_fog_frontend_parked_total"), 1, "parked so far")
    equal(_metric(frontend, "velour_fog_frontend_partition_parked_requests", partition="0"), 0, "parked now")
    Node(listen=f"127.0.0.1:{port}")
    until(lambda: frontend.get("k").status == 204, SOON + 2, "it is asked again")


@test
def who_waits_for_a_change_is_told_of_and_is_no_latency():
    frontend = Frontend(clusters(1, 1))
    tag = frontend.put("k", b"x").etag()
    with frontend.connect() as connection:
        connection.send(request("GET", "/k", None, ["Prefer: wait=20", f"If-None-Match: {tag}"]))
        until(lambda: _status(frontend)["connections"]["held"] == 1, SOON, "it is held")
        status = _status(frontend)
        equal((status["relays"]["in_progress"], status["partitions"][0]["in_flight"]), (1, 1), "in progress, in flight")
        equal(_metric(frontend, "velour_fog_held_requests"), 1, "held, in the metrics")
        time.sleep(0.5)
        frontend.put("k", b"y")
        equal(connection.reply().body, b"y", "the value")
    status = _status(frontend)
    equal((status["connections"]["held"], status["relays"]["in_progress"]), (0, 0), "held, in progress")
    check(status["latency_seconds"]["max"] < 0.4 * SLOW, f"the latency is {status['latency_seconds']}")


@test
def latency_has_the_nodes_part_in_it():
    groups = clusters(1, 1)
    frontend = Frontend(groups)
    frontend.put("k", b"x")
    os.kill(groups[0][0].process.pid, signal.SIGSTOP)
    waiting = Background(frontend.get, "k")
    time.sleep(0.4)
    os.kill(groups[0][0].process.pid, signal.SIGCONT)
    equal(waiting.result().body, b"x", "the value")
    slowest = _status(frontend)["latency_seconds"]["max"]
    check(0.2 < slowest < 2 * SLOW, f"the slowest took {slowest} s")
    equal(_metric(frontend, "velour_fog_request_duration_seconds_count"), 2, "how many requests were timed")


@test
def an_answer_that_takes_a_connection_for_itself_is_counted():
    frontend = Frontend(clusters(1, 1))
    frontend.put("large", bytes(16 * MIB))
    with frontend.connect(receive_buffer=65536) as connection:
        connection.send(request("GET", "/large"))
        until(lambda: _status(frontend)["relays"]["yielded"] == 1, SOON, "it has a connection of its own")
        equal(_status(frontend)["partitions"][0]["in_flight"], 1, "requests in flight")
        equal(len(connection.reply().body), 16 * MIB, "the bytes of the value")
    equal(_metric(frontend, "velour_fog_frontend_yielded_total"), 1, "yielded, in the metrics")


@test
def a_client_that_goes_is_no_failure_of_the_node():
    frontend = Frontend(clusters(1, 1))
    tag = frontend.put("k", b"x").etag()
    with frontend.connect() as connection:
        connection.send(request("GET", "/k", None, ["Prefer: wait=20", f"If-None-Match: {tag}"]))
        until(lambda: _status(frontend)["relays"]["in_progress"] == 1, SOON, "it waits")
    until(lambda: _status(frontend)["relays"]["in_progress"] == 0, SOON, "it is gone")
    equal(_status(frontend)["partitions"][0]["failures"], 0, "failures")


# --- metrics

@test
def metrics_of_a_front_end_pass_promtool():
    frontend = Frontend(clusters(2, 2))
    for number in range(5):
        frontend.put(f"k{number}", b"x")
        frontend.get(f"absent{number}")
    pass_promtool(frontend)


@test
def metrics_are_called_as_those_of_nodes_where_they_mean_the_same():
    frontend = Frontend(clusters(1, 1))
    frontend.put("k", b"x")
    names = {name for name, _, _ in metrics_of(frontend)}
    strange = {name for name in names if not name.startswith(("velour_fog_", "process_"))}
    equal(strange, set(), "names that begin otherwise")
    common().get(fresh())
    own = names - {name for name, _, _ in metrics_of(common())}
    equal({name for name in own if not name.startswith("velour_fog_frontend_")}, set(), "names that only a front-end has")
    for name in ("velour_fog_requests_total", "velour_fog_connections", "velour_fog_request_duration_seconds_bucket",
                 "velour_fog_loop_turn_duration_seconds_count", "velour_fog_received_bytes_total",
                 "process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"):
        check(name in names, f"{name} is not in {sorted(names)}")


@test
def requests_are_counted_by_method_and_status():
    frontend = Frontend(clusters(2, 1))
    for number in range(4):
        frontend.put(f"k{number}", b"x")
    for number in range(6):
        frontend.get(f"k{number}")
    frontend.call("PATCH", "/k", b"x")
    seen = {(labels["method"], labels["status"]): value for name, labels, value in metrics_of(frontend)
            if name == "velour_fog_requests_total"}
    equal(seen, {("PUT", "200"): 4, ("GET", "200"): 4, ("GET", "204"): 2, ("other", "405"): 1}, "the requests")


@test
def few_of_many_nodes_are_told_one_by_one_and_those_in_trouble_first():
    groups = clusters(2, 1)
    dead = [f"127.0.0.1:{port}" for port in range(20, 60)]
    frontend = Frontend([[*groups[0], *dead], [*groups[1], *dead]], ready=False)
    for partition in range(2):
        until(lambda partition=partition: _status(frontend)["partitions"][partition]["reached"], SOON, "all is reached")
    samples = metrics_of(frontend)
    told = [labels for name, labels, _ in samples if name == "velour_fog_frontend_node_usable"]
    equal(len(told), 64, "how many are told one by one")
    check(len(samples) < 700, f"there are {len(samples)} samples")
    for partition, members in enumerate(groups):
        check(all(labels["node"] != address(members[0]) for labels in told), "one that is well is told of before others")
        for state, count in (("down", 40), ("ready", 1)):
            equal(_metric(frontend, "velour_fog_frontend_nodes", partition=str(partition), state=state), count, state)
        equal(len(_status(frontend)["partitions"][partition]["nodes"]), 41, "how many the status tells")
        check(f"  {address(members[0])} ready\n" in _lines(frontend), "the lines do not have a node that is ready")
    pass_promtool(frontend)


def _seconds(frontend, target):
    started = time.monotonic()
    frontend.call("GET", target)
    return time.monotonic() - started


@test
def very_many_partitions_are_told():
    frontend = Frontend([[f"127.0.0.1:{DEAD}"]] * 300, ready=False)
    for target in ("/", "/-/metrics", "/-/status"):
        equal(frontend.call("GET", target).status, 200, f"the status of {target}")
        took = min(_seconds(frontend, target) for _ in range(3))  # the machine may be busy with other tests
        check(took < 0.1 * SLOW, f"{target} took {took:.2f} s")
    status = _status(frontend)
    equal((len(status["partitions"]), len(status["problems"])), (300, 16), "partitions, and problems")
    equal(status["problems"][-1], "There are 285 more problems.", "the last of them")
    check(_lines(frontend).endswith("a page for browsers\n"), "the text is cut off")
    pass_promtool(frontend)


# --- the front page

@test
def page_of_a_front_end_is_that_of_a_node():
    groups = clusters(1, 1)
    frontend = Frontend(groups)
    answers = [curl_reply("-H", "Accept: " + BROWSER, server.url("/")) for server in (frontend, groups[0][0])]
    equal([(answer.status, answer.kind()) for answer in answers], [(200, "text/html; charset=utf-8")] * 2, "status and type")
    equal(answers[0].body, answers[1].body, "the page")
    equal(answers[0].header("content-security-policy"), answers[1].header("content-security-policy"), "the policy")
    length = curl_reply("-I", "-H", "Accept: text/html", frontend.url("/")).header("content-length")
    equal(length, str(len(answers[0].body)), "HEAD's Content-Length")


@test
def history_of_a_front_end():
    groups = clusters(2, 2)
    frontend = Frontend(groups)
    for i in range(20):
        frontend.put(f"key{i}", b"x")

    def is_told():
        reply = json.loads(frontend.call("GET", "/-/history").body)
        last = dict(zip(reply["columns"], reply["samples"][-1])) if reply["samples"] else {}
        return last.get("records") == 20 and any(dict(zip(reply["columns"], one))["push_p99_seconds"] for one in reply["samples"])
    until(is_told, SOON, "the history has the records of both partitions, and how long a push took")


@test
def status_has_what_nodes_say_of_themselves():
    groups = clusters(1, 2)
    frontend = Frontend(groups)
    frontend.put("key", b"x")

    def said():
        return [(node["phase"], node["gathered_permille"], node["records"], abs(node["clock_skew_seconds"]) < 1)
                for node in _status(frontend)["partitions"][0]["nodes"].values()]
    until(lambda: said() == [("ready", 1000, 1, True)] * 2, SOON, "both are told")


def _has_lines(accept):
    frontend = Frontend(clusters(1, 1))
    answer = frontend.call("GET", "/", None, accept)
    check(answer.kind().startswith("text/plain"), f"the type is {answer.kind()}")
    text = answer.body.decode()
    check(re.match(r"Velour Fog \S+, a front-end of an in-memory key-value store\nready, up \d+ s\n", text), text)
    check("partitions   1 of 1 reached\n" in text and "curl -d VALUE HOST:PORT/KEY" in text, text)
    check(max(map(len, text.splitlines())) <= 80, "a line has more than 80 characters")


register("frontend_watch", "a_few_lines_for_curl", _has_lines, ["Accept: */*"])
register("frontend_watch", "a_few_lines_for_who_says_nothing", _has_lines, [])
