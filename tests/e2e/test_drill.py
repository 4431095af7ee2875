"""The drills of docs/operating.md, as they stand there, with other addresses."""

import os
import re

from cluster import agree, cluster
from foreign import run
from harness import BINARY, check, equal, scope, test, until
from node import free_port

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/operating.md")


def _commands(heading):
    """The first block behind a heading."""
    with open(DOCUMENT, encoding="utf-8") as file:
        text = file.read()
    block = re.search(rf"^### {heading}\n(?:.*\n)*?```console\n((?:\$ .*\n)+)```$", text, re.M).group(1)
    return [line.removeprefix("$ ") for line in block.splitlines()]


@test
def a_backup_is_restored_and_compared():
    nodes = cluster(2)
    for number in range(300):
        nodes[number % 2].put(f"key/{number}", b"%d" % number)
    nodes[0].delete("key/7")
    agree(nodes)
    port = free_port()
    lines = _commands("Every month: restore a backup")
    equal([line.split()[1] for line in lines if line.startswith("velour-fog")], ["backup", "--listen", "restore", "diff"], "the commands")
    check(all("/-/ready" in after for line, after in zip(lines, lines[1:]) if line.endswith("&")), "nothing waits for the node")
    script = "\n".join(lines).replace("10.0.0.1:8000", nodes[0].address).replace("127.0.0.1:9999", f"127.0.0.1:{port}")
    own = {**os.environ, "PATH": os.path.join(scope().directory(), "bin") + ":" + os.environ["PATH"]}
    os.makedirs(os.path.join(scope().directory(), "bin"))
    os.symlink(BINARY, os.path.join(scope().directory(), "bin/velour-fog"))
    said = run("bash", "-e", "-m", "-c", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + script + "\nwait", cwd=scope().directory(), env=own)
    check("hold the same, 300 records." in said, said)
    with open(os.path.join(scope().directory(), "drill"), "rb") as file:
        check(b"key/299" in file.read(), "the backup")


@test
def a_roll_out_goes_node_by_node():
    nodes = cluster(3)
    with open(DOCUMENT, encoding="utf-8") as file:
        lines = re.findall(r"^\$ ((?:until )?curl .*10\.0\.0\.1.*/-/(?:ready|members).*)$", file.read(), re.M)
    equal(len(lines), 2, f"commands: {lines}")
    for node in nodes:
        done = [run("bash", "-c", line.replace("10.0.0.1:8000", node.address)) for line in lines]
        equal((done[0], done[1].strip()), ("ready\n", "3"), "what they print")
    nodes[2].terminate()
    until(lambda: run("bash", "-c", lines[1].replace("10.0.0.1:8000", nodes[0].address)).strip() == "2", 5, "one less is counted")
