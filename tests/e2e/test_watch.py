"""Health, status, metrics, and the front page."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import time

from client import MIB, curl, curl_reply, request
from harness import SLOW, Skip, check, equal, fresh, register, test, until
from node import Node
from served import common

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


# --- health and status

def _fine(target):
    answer = curl_reply(common().url(target))
    equal(answer.status, 200, "the status")
    check(answer.body.endswith(b"\n") and len(answer.body) < 200, f"the body is {answer.body!r}")
    equal(curl_reply("-I", common().url(target)).status, 200, "the status of HEAD")


register("watch", "healthy_is_200", _fine, "/-/healthy")
register("watch", "ready_is_200", _fine, "/-/ready")


def _flat(value, prefix=""):
    """All numbers and texts of a JSON object by their path."""
    if isinstance(value, dict):
        return {name: inner for key, part in value.items() for name, inner in _flat(part, f"{prefix}.{key}").items()}
    return {prefix.strip(".").lower(): value}


def _status(node):
    answer = node.call("GET", "/-/status")
    equal(answer.status, 200, "the status")
    check(answer.kind().startswith("application/json"), f"the type is {answer.kind()}")
    return _flat(json.loads(answer.body))


def _field(fields, *words):
    """The field whose name holds one of the words; the first word that is found counts."""
    for word in words:
        for name, value in fields.items():
            if word in name:
                return value
    check(False, f"none of {words} in the names of {fields}")
    return None


def _is_limit(name, value):
    """Whether a figure is a limit for --memory-max 100M, of which the process's own need may be taken off."""
    return re.search("limit|max", name) and isinstance(value, (int, float)) and 0.9 * 100 * MIB <= value <= 100 * MIB


@test
def status_is_sane_json():
    node = Node("--memory-max", "100M", "--value-max", "1M")
    for number in range(7):
        node.put(f"k{number}", b"x" * 100)
    node.delete("k0")
    fields = _status(node)
    check(re.match(r"\d+\.\d+", str(_field(fields, "version"))), f"the version in {fields}")
    equal(_field(fields, "keys"), 6, "the number of keys")
    equal(_field(fields, "tombstones"), 1, "the number of tombstones")
    check(0 <= float(_field(fields, "uptime")) < 60 * SLOW, f"the uptime in {fields}")
    check(any(_is_limit(name, value) for name, value in fields.items()), f"the limit of 100 MiB is not in {fields}")
    check(any("memory" in name and isinstance(value, int) and 0 < value < 20 * MIB for name, value in fields.items()),
          f"no memory in use in {fields}")
    check(_field(fields, "connections") >= 1, f"the connections in {fields}")


@test
def status_uptime_grows():
    node = Node()
    first = float(_field(_status(node), "uptime"))
    until(lambda: float(_field(_status(node), "uptime")) > first, 5, "the uptime grows")


# --- metrics

SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([-+]?(?:[0-9.eE+-]+|Inf|NaN))")
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\.)*)"')


def metrics_of(node):
    """All samples: (name, labels as a dict, value)."""
    answer = node.call("GET", "/-/metrics")
    equal(answer.status, 200, "the status")
    kind = answer.kind()
    check(kind.startswith("text/plain") and "version=0.0.4" in kind, f"the type is {kind}")
    samples = []
    for line in answer.body.decode().splitlines():
        if line.startswith("#") or not line:
            continue
        found = SAMPLE.fullmatch(line)
        check(found, f"a line of the metrics is {line!r}")
        samples.append((found.group(1), dict(LABEL.findall(found.group(2) or "")), float(found.group(3))))
    return samples


def _sum(samples, name, **labels):
    """The sum of the samples whose name holds the pattern and whose labels have these values."""
    values = [value for found, seen, value in samples
              if re.search(name, found) and all(wanted in seen.values() for wanted in labels.values())]
    check(values, f"no metric {name} with {labels}; there are {sorted({found for found, _, _ in samples})}")
    return sum(values)


REQUESTS = r"^velour_fog_(http_)?requests_total$"


def pass_promtool(node):
    """Fails unless promtool finds nothing to say against the metrics of a node or a front-end."""
    if not shutil.which("promtool"):
        raise Skip("promtool is not here")
    text = curl(node.url("/-/metrics")).stdout
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False,
                          timeout=30 * SLOW)
    said = (done.stdout + done.stderr).decode()
    equal((done.returncode, said.strip()), (0, ""), "what promtool says")


@test
def metrics_pass_promtool():
    node = Node("--allow", "127.0.0.0/8")
    node.put("k", b"x")
    node.get("k")
    node.get("absent")
    pass_promtool(node)


@test
def metrics_names_begin_alike():
    for name, _, _ in metrics_of(common()):
        check(name.startswith(("velour_fog_", "process_")), f"a metric is called {name}")


@test
def metrics_count_requests_by_method_and_status():
    node = Node()
    node.call("GET", "/-/metrics")
    steps = [("PUT", "/k", b"x", "200", 3), ("POST", "/k", b"x", "200", 2), ("GET", "/k", None, "200", 5),
             ("GET", "/absent", None, "204", 4), ("DELETE", "/k", None, "200", 1), ("GET", "/%zz", None, "400", 2),
             ("PUT", "/-/x", b"x", "403", 1), ("PATCH", "/k", b"x", "405", 1)]
    for method, target, body, _, count in steps:
        for _ in range(count):
            node.call(method, target, body)
    samples = metrics_of(node)
    wanted = {}
    for method, _, _, status, count in steps[:-1]:
        wanted[method, status] = wanted.get((method, status), 0) + count
    for (method, status), count in wanted.items():
        extra = 1 if (method, status) == ("GET", "200") else 0  # the metrics themselves
        seen = sum(value for name, labels, value in samples if re.search(REQUESTS, name)
                   and method.lower() in {text.lower() for text in labels.values()} and status in labels.values())
        check(count <= seen <= count + 2 * extra, f"{method} with {status} was counted {seen} times, not {count}")
    _sum(samples, REQUESTS, status="405")


@test
def metrics_have_a_latency_histogram():
    node = Node()
    for _ in range(10):
        node.put("k", b"x")
    samples = metrics_of(node)
    buckets = {}
    for name, labels, value in samples:
        if name.endswith("_bucket") and re.search("duration|latency", name):
            rest = tuple(sorted((key, text) for key, text in labels.items() if key != "le"))
            buckets.setdefault((name.removesuffix("_bucket"), rest), []).append((float(labels["le"]), value))
    check(buckets, f"no histogram of latency in {sorted({name for name, _, _ in samples})}")
    total = 0
    for (name, rest), series in buckets.items():
        check(len(series) >= 5 and series == sorted(series), f"the buckets of {name} are {series}")
        counts = [value for _, value in series]
        check(counts == sorted(counts), f"{name} is not cumulative: {series}")
        equal(series[-1][0], float("inf"), f"the last bucket of {name}")
        count = [value for found, labels, value in samples
                 if found == name + "_count" and tuple(sorted(labels.items())) == rest]
        equal(count, [series[-1][1]], f"{name}_count")
        check(any(found == name + "_sum" for found, _, _ in samples), f"{name} has no sum")
        total += series[-1][1]
    check(total >= 10, f"the histograms count {total} requests")


@test
def metrics_count_bytes():
    node = Node()

    came = r"(receive|read|_in_?|request).*bytes.*_total$|bytes_(received|read|in)_total$"
    went = r"(sen[dt]|written|_out_?|response|transmit).*bytes.*_total$|bytes_(sent|written|out)_total$"

    def numbers():
        samples = metrics_of(node)
        return _sum(samples, came), _sum(samples, went)

    before = numbers()
    node.put("k", bytes(MIB))
    for _ in range(3):
        node.get("k")
    after = numbers()
    check(MIB <= after[0] - before[0] <= MIB + 65536, f"bytes in grew by {after[0] - before[0]}")
    check(3 * MIB <= after[1] - before[1] <= 3 * MIB + 65536, f"bytes out grew by {after[1] - before[1]}")


@test
def metrics_count_connections():
    node = Node()

    def now():
        return _sum(metrics_of(node), r"^velour_fog_(open_)?connections(_open|_active|_current)?$")

    before = now()
    crowd = [node.connect() for _ in range(5)]
    for connection in crowd:
        connection.ask("GET", "/k")
    equal(now() - before, 5, "the growth of the number of connections")
    for connection in crowd:
        connection.close()
    until(lambda: now() == before, 5, "closed connections are not counted")


@test
def metrics_count_keys_and_tombstones():
    node = Node()
    for number in range(20):
        node.put(f"k{number}", b"x")
    for number in range(5):
        node.delete(f"k{number}")
    node.put("k0", b"back")
    node.put("short", b"x", "Fog-TTL: 1")

    def numbers():
        samples = metrics_of(node)
        return (_sum(samples, r"^velour_fog_(table_)?keys$"), _sum(samples, r"^velour_fog_(table_)?tombstones$"))

    check(numbers() in ((17, 4), (16, 5)), f"keys and tombstones are {numbers()}")
    until(lambda: numbers() == (16, 5), 5, "an expired key counts as a tombstone")
    fields = _status(node)
    equal((_field(fields, "keys"), _field(fields, "tombstones")), (16, 5), "keys and tombstones in the status")


@test
def metrics_show_memory_and_its_limit():
    node = Node("--memory-max", "100M")

    def memory():
        return {name: value for name, labels, value in metrics_of(node)
                if re.search("memory|table", name) and not labels.get("le")}

    before = memory()
    check(any(_is_limit(name, value) for name, value in before.items()), f"the limit is not in {before}")
    node.put("k", bytes(8 * MIB))
    after = memory()
    check(any(8 * MIB <= after[name] - before[name] <= 10 * MIB for name in before),
          f"8 MiB more do not show: {before} and then {after}")


@test
def metrics_show_loop_turns():
    node = Node()
    node.put("k", b"x")
    names = {name for name, _, _ in metrics_of(node)}
    check(any(re.search(r"loop|turn", name) for name in names), f"no loop turn time in {sorted(names)}")


@test
def metrics_do_not_grow_with_what_clients_send():
    node = Node()
    for _ in range(2):
        for number in range(50):
            with node.connect() as connection:
                connection.send(request(f"M{chr(65 + number % 26)}{chr(65 + number // 26)}X", f"/k{number}"))
                connection.reply()
        names = len(metrics_of(node))
    check(names < 1000, f"there are {names} samples")
    for name, labels, _ in metrics_of(node):
        check("MAAX" not in labels.values(), f"{name} takes a client's word for a label: {labels}")


# --- the front page

@test
def page_for_a_browser():
    node = Node()
    node.put("k", b"x")
    answer = curl_reply("-H", "Accept: " + BROWSER, node.url("/"))
    equal(answer.status, 200, "the status")
    check(answer.kind().startswith("text/html"), f"the type is {answer.kind()}")
    page = answer.body.decode().lower()
    for word in ("<!doctype html>", "<title>", "velour fog", "</html>"):
        check(word in page, f"'{word}' is not in the page")
    page = re.sub(r"http://(localhost|127\.0\.0\.1|www\.w3\.org)", "", page)
    check("http://" not in page and "https://" not in page, "the page takes something from elsewhere")


@test
def page_is_the_same_whatever_a_client_says():
    node = Node()
    node.put("%3Cscript%3Ealert(1)%3C/script%3E", b"<script>alert(2)</script>", "Content-Type: <script>")
    pages = []
    for host, agent in (("localhost", "curl"), ("host:1", "<script>alert(4)")):
        with node.connect() as connection:
            connection.send(request("GET", "/", None, ["Accept: text/html", f"User-Agent: {agent}"], host=host))
            pages.append(connection.reply().body)
    equal(pages[0], pages[1], "the page")
    check(b"alert(" not in pages[0], "the page holds a client's markup")


@test
def policy_of_the_page_names_what_is_in_it():
    answer = common().call("GET", "/", None, ["Accept: text/html"])
    policy = dict(part.strip().split(" ", 1) for part in answer.header("content-security-policy").split(";"))
    page = answer.body.decode()
    for directive, tag in (("style-src", "style"), ("script-src", "script")):
        parts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        check(parts, f"no {tag} in the page")
        equal(policy[directive], " ".join("'sha256-%s'" % base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
                                          for part in parts), directive)
    equal((policy["default-src"], policy["connect-src"]), ("'none'", "'self'"), "the rest of the policy")
    equal(answer.header("x-content-type-options"), "nosniff", "X-Content-Type-Options")


# --- the history

def _history(node, query=""):
    reply = json.loads(node.call("GET", "/-/history" + query).body)
    equal(len(reply["samples"]), reply["next"] - reply["first"], "as many samples as are numbered")
    return reply


def _column(reply, name):
    return [sample[reply["columns"].index(name)] for sample in reply["samples"]]


@test
def history_tells_what_was_done():
    node = Node()
    for i in range(7):
        node.put(f"k{i}", b"x")
    node.delete("k0")
    until(lambda: _history(node)["next"] >= 2, 10 * SLOW, "two samples are taken")
    reply = _history(node)
    check(sum(_column(reply, "requests_per_second")) >= 7, f"few requests: {reply}")
    equal((_column(reply, "keys")[-1], _column(reply, "records")[-1]), (6, 7), "keys, and deleted ones too")
    check(_column(reply, "resident_bytes")[-1] > 1e6, f"little memory: {reply}")
    check(any(value for value in _column(reply, "latency_p99_seconds")), f"no time to answer: {reply}")
    equal(set(_column(reply, "push_p50_seconds")), {None}, "there is nobody to push to")
    times = _column(reply, "uptime_seconds")
    check(all(1 <= after - before < 5 * SLOW for before, after in zip(times, times[1:])), f"samples are not a second apart: {times}")


@test
def history_tells_what_is_new():
    node = Node()
    until(lambda: _history(node)["next"] >= 2, 10 * SLOW, "two samples are taken")
    every = _history(node)
    since = _history(node, f"?since={every['next'] - 1}")
    equal(since["first"], every["next"] - 1, "the first sample")
    equal(since["samples"][0], every["samples"][-1], "the same sample")
    for nonsense in ("?since=1000000", "?since=-1", "?since=x", "?other=1", "?"):
        equal(_history(node, nonsense)["samples"][:2], every["samples"][:2], f"all of them with {nonsense}")


@test
def a_few_lines_for_curl():
    node = Node()
    node.put("k", b"x")
    answer = curl_reply(node.url("/"))
    equal(answer.status, 200, "the status")
    check(answer.kind().startswith("text/plain"), f"the type is {answer.kind()}")
    lines = answer.body.decode().splitlines()
    check(2 <= len(lines) <= 24, f"the text has {len(lines)} lines")
    check(max(map(len, lines)) <= 80, f"a line has more than 80 characters: {max(lines, key=len)}")
    check(f":{node.port}/" in answer.body.decode() or "http://" not in answer.body.decode(),
          f"the lines to try name another port than {node.port}")
    check("velour fog" in answer.body.decode().lower() or "velour-fog" in answer.body.decode().lower(), "no name in it")
    equal(curl_reply("-I", node.url("/")).header("content-length"), str(len(answer.body)), "HEAD's Content-Length")


@test
def page_depends_on_accept():
    answers = {}
    node = common()
    for accept in ("text/html", "*/*", "text/plain"):
        answers[accept] = node.call("GET", "/", None, [f"Accept: {accept}"]).kind()
    answers["none"] = node.call("GET", "/").kind()
    for accept, kind in answers.items():
        check(kind.startswith("text/html" if accept == "text/html" else "text/plain"), f"the types are {answers}")


@test
def watching_is_quick_with_many_keys():
    node = Node()
    count = 30000
    key = fresh()
    with node.connect() as connection:
        for start in range(0, count, 1000):
            connection.send(b"".join(request("PUT", f"/{key}-{number}", b"x") for number in range(start, start + 1000)))
            for _ in range(1000):
                equal(connection.reply().status, 200, "the status")
    for target in ("/-/status", "/-/metrics", "/-/healthy", "/"):
        started = time.monotonic()
        equal(node.call("GET", target).status, 200, f"the status of {target}")
        check(time.monotonic() - started < 0.5 * SLOW, f"{target} took {time.monotonic() - started:.2f} s")
    equal(_field(_status(node), "keys"), count, "the number of keys")
