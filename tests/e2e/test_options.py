"""The command line and the environment."""

import os
import re

from client import MIB, curl_code, request, refusal
from harness import SLOW, Failure, check, equal, register, scope, test
from node import Node, free_port, run_binary

OPTIONS = ["--listen", "--allow", "--memory-max", "--value-max", "--connections-max", "--idle-timeout",
           "--request-timeout", "--drain-time", "--log-level", "--grace", "--join", "--advertise", "--cluster-name",
           "--partition", "--forget-after"]
OF_FRONTENDS = ["--listen", "--allow", "--value-max", "--connections-max", "--idle-timeout", "--request-timeout",
                "--drain-time", "--log-level", "--cluster", "--read-from", "--reuse-port"]


def _sentences(done, *words):
    """What was said on stderr: a line or two that hold all these words."""
    text = done.stderr.decode("utf-8", "replace")
    lines = text.splitlines()
    check(1 <= len(lines) <= 3 and " " in lines[0], f"stderr is {text!r}")
    for word in words:
        check(word in text, f"'{word}' is not in {text!r}")
    return text


# --- help and version

def _help_fits_a_screen(*arguments):
    done = run_binary(*arguments)
    equal((done.returncode, done.stderr), (0, b""), "exit code and stderr")
    check(done.stdout.endswith(b"\n"), f"the last line of --help has no end: {done.stdout[-60:]!r}")
    lines = done.stdout.decode().splitlines()
    check(5 <= len(lines) <= 30, f"--help has {len(lines)} lines")
    long = [line for line in lines if len(line) > 80]
    check(not long, f"{len(long)} lines of --help have more than 80 characters: {long}")


def _help_names_every_option(options, *arguments):
    text = run_binary(*arguments).stdout.decode()
    for option in [*options, "--help", "--version"]:
        check(re.search(re.escape(option) + r"\b", text), f"{option} is not in --help")
    check("8000" in text, "the default port is not in --help")


for _role, _options, _arguments in (("", OPTIONS, ["--help"]), ("_of_node", OPTIONS, ["node", "--help"]),
                                    ("_of_frontend", OF_FRONTENDS, ["frontend", "--help"])):
    register("options", f"help{_role}_fits_a_screen", _help_fits_a_screen, *_arguments)
    register("options", f"help{_role}_names_every_option", _help_names_every_option, _options, *_arguments)


@test
def version_is_one_line():
    done = run_binary("--version")
    equal((done.returncode, done.stderr), (0, b""), "exit code and stderr")
    check(re.fullmatch(rb"velour-fog \d+\.\d+(\.\d+)?\S*\n", done.stdout), f"--version says {done.stdout!r}")


# --- bad command lines

def _refused(arguments, *words):
    done = run_binary(*arguments)
    text = _sentences(done, *words)
    equal(done.returncode, 2, f"the exit code ({text.strip()})")
    equal(done.stdout, b"", "stdout")


for _name, _arguments, _words in (
        ("unknown_option", ["--no-such-option"], ["--no-such-option"]),
        ("unknown_short_option", ["-Z"], ["-Z"]),
        ("unknown_option_after_good_ones", ["--listen", "127.0.0.1:0", "--oops", "1"], ["--oops"]),
        ("unknown_command", ["dance"], ["dance"]),
        ("stray_word", ["--listen", "127.0.0.1:0", "stray"], ["stray"]),
        ("stray_word_after_node", ["node", "stray"], ["stray"]),
        ("stray_word_after_frontend", ["frontend", "--cluster", "a:1", "stray"], ["stray"]),
        ("frontend_without_cluster", ["frontend"], ["--cluster", "once for each partition"]),
        ("join_of_frontend", ["frontend", "--cluster", "a:1", "--join", "a:1"],
         ["--join", "an option of velour-fog node"]),
        ("partition_of_frontend", ["frontend", "--partition", "0/2"], ["--partition", "an option of velour-fog node"]),
        ("cluster_of_node", ["--cluster", "a:1"], ["--cluster", "an option of velour-fog frontend"]),
        ("one_join_too_many", ["--join", "a:1"] * 65, ["--join", "64 at most"]),
        ("one_network_too_many", ["--allow", "10.0.0.1"] * 65, ["--allow", "64 at most"]),
        ("one_member_too_many", ["frontend", "--cluster", ",".join(["a:1"] * 65)], ["--cluster", "64 at most"]),
        ("one_cluster_too_many", ["frontend", *["--cluster", "a:1"] * 1025], ["--cluster", "of 1024 clusters"]),
        ("frontend_after_options", ["--listen", "127.0.0.1:0", "frontend"], ["frontend"])):
    register("options", f"{_name}_is_refused", _refused, _arguments, *_words)

_BAD = {
    "--listen": ["", "nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:8000x",
                 "127.0.0.1:99999999999", "256.0.0.1:0", "[::1", "[::1]", "[:::]:0", ":::0x", "127.0.0.1:+1"],
    "--allow": ["", "nonsense", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/x", "10.0.0/8", "10.0.0.0.0/8",
                "256.0.0.0/8", "::1/129", "fe80::/", "fe80::x/10", "10.0.0.0/8/8"],
    "--memory-max": ["", "lots", "-1", "12Q", "1.5.5G", "0x10", "M", "99999999999999999999",
                     "99999999999999999G", "16GB!"],
    "--value-max": ["", "lots", "-1", "12Q", "M", "99999999999999999999", "99999999999999999G"],
    "--connections-max": ["", "many", "-1", "0", "1.5", "10x", "99999999999999999999"],
    "--idle-timeout": ["", "long", "-1", "5x", "99999999999999999999"],
    "--request-timeout": ["", "long", "-1", "5x", "99999999999999999999"],
    "--drain-time": ["", "long", "-1", "5x", "99999999999999999999"],
    "--log-level": ["", "loud", "INFO!", "99"],
    "--partition": ["", "1", "x/y", "2/2", "3/2", "-1/2", "0/0", "1/", "/2", "0/65537", "0/2/2"],
    "--join": ["", "10.0.0.1:99999", ":8000", "10.0.0.1:x", "10.0.0.1", "::1:8000", "[host]:8000", "a:1,"],
    "--advertise": ["", "10.0.0.1:99999", ":8000", "10.0.0.1:x", "a:1,b:1", "0.0.0.0:8000", "[::]:8000"],
    "--cluster-name": ["", "a b", "a/b", "x" * 64],
    "--forget-after": ["", "0", "never", "-1"],
    "--cluster": ["", "a", "a:1,", "a:1;", ";a:1", "a:1;;b:1", "a:1, b:1", ":8000", "a:99999", "::1:8000"],
    "--read-from": ["", "all", "Home", "0"],
    "--reuse-port": ["", "1", "Yes", "maybe"]}


def _bad_values(option):
    wrong = []
    role = "node" if option in OPTIONS else "frontend"
    for value in _BAD[option]:
        arguments = [option, value] if option == "--listen" else [role, "--listen", "127.0.0.1:0", option, value]
        try:
            done = run_binary(*arguments, seconds=3)
        except Failure:
            wrong.append(f"{value!r} is taken")
            continue
        try:
            _sentences(done, option)
            equal(done.returncode, 2, "the exit code")
        except Failure as failure:
            wrong.append(f"{value!r}: {failure}")
    check(not wrong, "; ".join(wrong))


def _missing_value(option):
    role = "node" if option in OPTIONS else "frontend"
    _refused([role, "--listen", "127.0.0.1:0", option] if option != "--listen" else [option], option)


for _option in _BAD:
    _word = _option.strip("-").replace("-", "_")
    register("options", f"bad_{_word}_is_refused", _bad_values, _option)
    register("options", f"{_word}_without_value_is_refused", _missing_value, _option)


@test
def sizes_have_units():
    for size, length in {"1000": 1000, "2K": 2048, "1M": MIB}.items():
        node = Node("--value-max", size)
        equal(node.call("PUT", "/k", bytes(length)).status, 200, f"the status of {length} bytes with {size}")
        with node.connect() as connection:
            connection.send(request("PUT", "/k", None, [f"Content-Length: {length + 1}"]))
            refusal(connection.reply(), 413)
    Node("--memory-max", "16G", "--value-max", "1G").put("k", b"x")


@test
def command_node_is_the_default():
    node = Node(listen=None, prefix=["sh", "-c", 'exec "$0" node --listen 127.0.0.1:0 "$@"'])
    node.put("k", b"x")
    equal(node.get("k").body, b"x", "the value")


@test
def every_option_together():
    node = Node("--allow", "127.0.0.0/8", "--memory-max", "512M", "--value-max", "1M", "--connections-max", "100",
                "--idle-timeout", "10", "--request-timeout", "10", "--drain-time", "5", "--log-level", "debug",
                "--grace", "1h", "--cluster-name", "Test-1.a_b", "--partition", "0/1", "--forget-after", "2h",
                "--advertise", "localhost:1", "--join", "nobody.invalid:1", "--join", "127.0.0.1:1,[::1]:1")
    node.put("k", b"x")
    equal(node.get("k").body, b"x", "the value")


# --- the environment

@test
def environment_listen():
    port = free_port()
    node = Node(listen=None, env={"VELOUR_FOG_LISTEN": f"127.0.0.1:{port}"})
    equal(node.port, port, "the port")
    equal(curl_code(node.url("/-/healthy")), 200, "the status")


@test
def environment_allow():
    node = Node(env={"VELOUR_FOG_ALLOW": "127.0.0.2/32"})
    equal(curl_code("--interface", "127.0.0.2", node.url("/-/healthy")), 200, "the status from 127.0.0.2")
    equal(curl_code(node.url("/-/healthy")), 0, "the status from 127.0.0.1")


@test
def environment_value_max():
    node = Node(env={"VELOUR_FOG_VALUE_MAX": "1K"})
    equal(node.call("PUT", "/k", bytes(1024)).status, 200, "the status at the limit")
    refusal(node.call("PUT", "/k", bytes(1025)), 413)


@test
def environment_memory_max():
    node = Node(env={"VELOUR_FOG_MEMORY_MAX": "32M"})
    with node.connect() as connection:
        connection.send_what_goes(request("PUT", "/k", bytes(40 * MIB)))
        refusal(connection.reply(), 507)


@test
def environment_times():
    node = Node(env={"VELOUR_FOG_IDLE_TIMEOUT": "1", "VELOUR_FOG_REQUEST_TIMEOUT": "1"})
    with node.connect() as idle, node.connect() as slow:
        slow.send(b"GET /")
        refusal(slow.reply(seconds=5), 408)
        idle.closed(seconds=5)


@test
def environment_connections_max():
    node = Node(env={"VELOUR_FOG_CONNECTIONS_MAX": "2"})
    old = [node.connect() for _ in range(2)]
    for connection in old:
        equal(connection.ask("GET", "/k").status, 204, "the status")
    status = None
    try:
        status = node.call("GET", "/k", seconds=2 / SLOW).status
    except (Failure, OSError):
        pass  # closed, or waits
    check(status in (None, 503), f"a third client gets {status}")


@test
def environment_drain_time():
    node = Node(env={"VELOUR_FOG_DRAIN_TIME": "1"})
    with node.connect() as connection:
        connection.send(request("PUT", "/k", None, ["Content-Length: 10"]) + b"x")
        connection.silent(0.1)
        equal(node.terminate(1 + 2), 0, "the exit code")


@test
def environment_cluster():
    node = Node(env={"VELOUR_FOG_JOIN": "127.0.0.1:1,localhost:1", "VELOUR_FOG_ADVERTISE": "localhost:1",
                     "VELOUR_FOG_CLUSTER_NAME": "mist", "VELOUR_FOG_PARTITION": "2/3", "VELOUR_FOG_FORGET_AFTER": "1h"})
    lines = node.call("GET", "/-/members").body.decode().splitlines()
    check("cluster mist" in lines and "partition 2/3" in lines, f"/-/members says {lines}")


@test
def environment_of_the_other_role_is_ignored():
    Node(env={"VELOUR_FOG_CLUSTER": "certainly wrong", "VELOUR_FOG_READ_FROM": "x", "VELOUR_FOG_REUSE_PORT": "x"}).put(
        "k", b"x")
    done = run_binary("frontend", env={"VELOUR_FOG_JOIN": "wrong", "VELOUR_FOG_MEMORY_MAX": "wrong"}, seconds=3)
    equal(done.returncode, 2, "the exit code")
    _sentences(done, "--cluster")  # which is missing; of the others nothing is said


@test
def environment_log_level():
    node = Node(env={"VELOUR_FOG_LOG_LEVEL": "debug"})
    node.put("k", b"x")


@test
def command_line_beats_environment():
    node = Node("--value-max", "2K", env={"VELOUR_FOG_VALUE_MAX": "1K", "VELOUR_FOG_LISTEN": "127.0.0.1:1"})
    check(node.port != 1, "the environment's port was taken")
    equal(node.call("PUT", "/k", bytes(2048)).status, 200, "the status at the command line's limit")
    refusal(node.call("PUT", "/k", bytes(2049)), 413)


@test
def command_line_allow_replaces_environment():
    node = Node("--allow", "127.0.0.1/32", env={"VELOUR_FOG_ALLOW": "127.0.0.2/32"})
    equal(curl_code(node.url("/-/healthy")), 200, "the status from 127.0.0.1")
    equal(curl_code("--interface", "127.0.0.2", node.url("/-/healthy")), 0, "the status from 127.0.0.2")


def _bad_environment(variable, value, *command):
    env = {"VELOUR_FOG_LISTEN": "127.0.0.1:0", variable: value}
    done = run_binary(*command, env=env, seconds=3)
    text = _sentences(done, variable)
    equal(done.returncode, 2, f"the exit code ({text.strip()})")


for _variable, _value in {"LISTEN": "nonsense", "ALLOW": "10.0.0.0/99", "MEMORY_MAX": "lots", "VALUE_MAX": "12Q",
                          "CONNECTIONS_MAX": "many", "IDLE_TIMEOUT": "-1", "REQUEST_TIMEOUT": "x", "DRAIN_TIME": "x",
                          "LOG_LEVEL": "loud", "JOIN": "nobody", "ADVERTISE": "nobody", "CLUSTER_NAME": "a b",
                          "PARTITION": "3/3", "FORGET_AFTER": "0"}.items():
    register("options", f"bad_environment_{_variable.lower()}_is_refused", _bad_environment, "VELOUR_FOG_" + _variable,
             _value)
for _variable, _value in {"CLUSTER": "a:1;;b:1", "READ_FROM": "all", "REUSE_PORT": "maybe"}.items():
    register("options", f"bad_environment_{_variable.lower()}_is_refused", _bad_environment, "VELOUR_FOG_" + _variable,
             _value, "frontend")


# --- the port

@test
def port_in_use_is_said_plainly():
    node = Node()
    done = run_binary("--listen", f"127.0.0.1:{node.port}")
    text = _sentences(done, str(node.port))
    equal(done.returncode, 1, f"the exit code ({text.strip()})")
    check("in use" in text.lower(), f"stderr is {text!r}")
    node.put("k", b"x")  # the first goes on


@test
def port_free_again_after_a_stop():
    node = Node()
    port = node.port
    with node.connect() as connection:
        connection.ask("PUT", "/k", b"x")
        equal(node.terminate(), 0, "the exit code")
    again = Node(listen=f"127.0.0.1:{port}")
    equal(again.port, port, "the port")
    equal(again.get("k").status, 204, "the status of a key of the first one")


@test
def address_that_is_not_ours():
    done = run_binary("--listen", "203.0.113.77:8000")
    text = _sentences(done, "203.0.113.77")
    equal(done.returncode, 1, f"the exit code ({text.strip()})")


@test
def work_directory_may_be_anything():
    node = Node(prefix=["sh", "-c", f'cd {scope().directory()} && chmod 000 . && exec "$0" "$@"'])
    node.put("k", b"x")
    os.chmod(scope().directory(), 0o700)
    equal(os.listdir(scope().directory()), [], "files that the node left in its directory")
