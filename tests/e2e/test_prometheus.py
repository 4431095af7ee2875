"""docs/prometheus.yml, docs/alerts.yml and docs/grafana.json with a real Prometheus before a real cluster and its front-end."""

import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request

from cluster import cluster
from foreign import Daemon, program, run, write
from frontend import Frontend
from harness import GUARDED, Skip, check, equal, scope, test, until
from node import free_port

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs")


def _read(name):
    with open(os.path.join(DOCS, name), encoding="utf-8") as file:
        return file.read()


def _with(text, pattern, replacement, count):
    """The text with something in place of what must stand there so often."""
    text, seen = re.subn(pattern, replacement, text)
    equal(seen, count, f"how often {pattern} stands there")
    return text


class _Prometheus:
    """With the files of the documents, other addresses, and all waits short."""

    def __init__(self, nodes, frontends):
        binary = program("prometheus", "prometheus")
        text = _with(_read("prometheus.yml"), r"_interval: 15s", "_interval: 1s", 2)
        for job, targets in (("velour-fog", nodes), ("velour-fog-frontend", frontends)):
            listed = ", ".join(f'"{one.address}"' for one in targets)
            text = _with(text, rf"(job_name: {job}\n(?:.*\n)*?.*targets: \[)[^\]]*", rf"\g<1>{listed}", 1)
        rules = re.sub(r"\bfor: \w+", "for: 1s", _read("alerts.yml"))
        write("alerts.yml", rules)
        self.port = free_port()
        self.daemon = Daemon(binary, "--config.file", write("prometheus.yml", text), "--storage.tsdb.path",
                             os.path.join(scope().directory(), "data"), "--web.listen-address",
                             f"127.0.0.1:{self.port}")
        until(self._is_up, 20, f"Prometheus is up ({self.daemon.said()})")

    def _is_up(self):
        try:
            return self.call("/-/ready") is not None
        except OSError:
            return False

    def call(self, target):
        """The text of an answer."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{target}", timeout=10) as answer:
            return answer.read().decode()

    def query(self, expression):
        """Its result: a list of series."""
        try:
            text = self.call("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        except urllib.error.HTTPError as error:
            check(False, f"{expression}: {error.read().decode()}")
        return json.loads(text)["data"]["result"]

    def firing(self):
        """Names of the alerts that fire."""
        return {alert["labels"]["alertname"] for alert in json.loads(self.call("/api/v1/alerts"))["data"]["alerts"]
                if alert["state"] == "firing"}

    def targets_up(self):
        """How many instances it has scraped."""
        return sum(float(series["value"][1]) for series in self.query("up"))


def dashboard_queries(node, frontend):
    """(title, expression) of each target of the dashboard, for one node and one front-end."""
    for panel in json.loads(_read("grafana.json"))["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$__rate_interval", "5s").replace("$job", "velour-fog.*")
            expression = expression.replace("$node", re.escape(node).replace("\\", "\\\\"))
            expression = expression.replace("$frontend", re.escape(frontend).replace("\\", "\\\\"))
            check("$" not in expression, f"a variable is left in {expression}")
            yield panel["title"], expression


def _exercise(nodes, frontend):
    """Some of everything that metrics count only once it has happened."""
    for number in range(20):
        nodes[number % 2].put(f"direct-{number}", b"x")
        frontend.put(f"through-{number}", b"x")
        frontend.get(f"through-{number}")


@test
def prometheus_reads_it_the_dashboard_shows_it_and_alerts_fire():
    if GUARDED:
        raise Skip("it tests the documents, once is enough")
    run(program("promtool", "prometheus"), "check", "rules", os.path.join(DOCS, "alerts.yml"))
    run(program("promtool", "prometheus"), "test", "rules", "alerts_test.yml", cwd=DOCS)
    nodes = cluster(2)
    frontend = Frontend([nodes])
    prometheus = _Prometheus(nodes, [frontend])
    until(lambda: prometheus.targets_up() == 3, 20, f"all are scraped ({prometheus.daemon.said()})")
    queries = list(dashboard_queries(nodes[0].address, frontend.address))
    check(len(queries) > 50, f"only {len(queries)} queries in the dashboard")

    def without_data():
        _exercise(nodes, frontend)
        queries[:] = [one for one in queries if not prometheus.query(one[1])]
        return queries

    until(lambda: not without_data(), 20, f"the dashboard's queries give data: {queries[:3]}")
    rates = prometheus.query("sum(rate(velour_fog_member_push_duration_seconds_count[5s]))")
    check(float(rates[0]["value"][1]) > 0, f"pushes a second: {rates}")
    equal(prometheus.firing() - {"VelourFogDisagrees"}, set(), "the alerts that fire while all is well")
    nodes[1].kill()
    wanted = {"VelourFogDown", "VelourFogMembersDown", "VelourFogFrontendNodesDown", "VelourFogAlone"}
    until(lambda: wanted <= prometheus.firing(), 20,
          f"{wanted} fire after a node is killed ({prometheus.firing()})")
    nodes[0].kill()
    until(lambda: "VelourFogPartitionLost" in prometheus.firing(), 20,
          f"the partition's loss is told ({prometheus.firing()})")
