"""Networks of their own: each node in a network namespace with its own address, all on one bridge.

The namespaces have no names and hang on file descriptors of this process, so whatever ends it, the kernel takes them
away, with their links and rules. It takes root, ip, nsenter and iptables; without them a test is skipped.
"""

import contextlib
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import threading

from client import Connection, curl
from harness import Skip, check, scope
from node import Node

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
_TOOLS = ("ip", "nsenter", "iptables")
_OWN = "/proc/thread-self/ns/net"
PORT = 8000


def _call(result, what):
    if result != 0:
        raise Skip(f"{what}: {os.strerror(ctypes.get_errno())}")


def need_root(*tools):
    """Skips the test where it cannot be run."""
    if os.geteuid() != 0:
        raise Skip("network namespaces take root")
    for tool in tools:
        if not shutil.which(tool, path=_PATH):
            raise Skip(f"there is no {tool} (scripts/setup test installs it)")


class Space:
    """One network namespace, empty but for its loopback."""

    def __init__(self):
        before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call(_LIBC.unshare(_NEW_NETWORK), "a network namespace")
            self.fd = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
            _call(_LIBC.setns(before, _NEW_NETWORK), "back from a network namespace")
        finally:
            os.close(before)
        self.entrance = (shutil.which("nsenter", path=_PATH), f"--net=/proc/self/fd/{self.fd}")
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command, others=()):
        """Runs a command in it, which must end well."""
        fds = (self.fd, *(other.fd for other in others))
        done = subprocess.run([*self.entrance, *command], pass_fds=fds, capture_output=True, check=False,
                              env={**os.environ, "PATH": _PATH})
        check(done.returncode == 0, f"{' '.join(command)}: {done.stderr!r}")

    @contextlib.contextmanager
    def inside(self):
        """This thread's new sockets are in it meanwhile."""
        before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call(_LIBC.setns(self.fd, _NEW_NETWORK), "into a network namespace")
            try:
                yield
            finally:
                _call(_LIBC.setns(before, _NEW_NETWORK), "back from a network namespace")
        finally:
            os.close(before)


class Network:
    """So many machines on one bridge, counted from 0; machine 0 has the address 10.213.0.1."""

    def __init__(self, count):
        need_root(*_TOOLS)
        self.spaces = []
        self.hub = Space()
        scope().connections.append(self)
        self.hub.run("ip", "link", "add", "bridge", "type", "bridge")
        self.hub.run("ip", "link", "set", "bridge", "up")
        for machine in range(count):
            self._add(machine)

    def _add(self, machine):
        space = Space()
        self.spaces.append(space)
        self.hub.run("ip", "link", "add", f"port{machine}", "type", "veth", "peer", "name", "eth0", "netns",
                     f"/proc/self/fd/{space.fd}", others=(space,))
        self.hub.run("ip", "link", "set", f"port{machine}", "master", "bridge", "up")
        space.run("ip", "address", "add", f"{self.address(machine)}/24", "dev", "eth0")
        space.run("ip", "link", "set", "eth0", "up")

    @staticmethod
    def address(machine):
        """Of one machine."""
        return f"10.213.0.{machine + 1}"

    def node(self, machine, *options, prefix=(), **more):
        """A node on one machine."""
        return NetNode(self, machine, *options, prefix=prefix, **more)

    def cut(self, *machines):
        """Pulls the cables of these: their packets are lost, and nobody is told."""
        for machine in machines:
            self.hub.run("ip", "link", "set", f"port{machine}", "down")

    def mend(self, *machines):
        """Puts their cables back."""
        for machine in machines:
            self.hub.run("ip", "link", "set", f"port{machine}", "up")

    def deafen(self, machine, to):
        """Loses what comes to the machine from another one; the other way stays."""
        self.spaces[machine].run("iptables", "-w", "-A", "INPUT", "-s", self.address(to), "-j", "DROP")

    def undeafen(self, machine, to):
        """The end of that."""
        self.spaces[machine].run("iptables", "-w", "-D", "INPUT", "-s", self.address(to), "-j", "DROP")

    def shutdown(self):
        """Ends every wait: there is none."""

    def close(self):
        """Lets go of it; what still runs in it keeps it until it ends."""
        for space in [self.hub, *self.spaces]:
            os.close(space.fd)
        self.spaces = []


class Names(threading.Thread):
    """A name server on 127.0.0.1 of one machine: `addresses` is what every name stands for; None for no answer at all. While `fails`, it
    says that it cannot tell."""

    def __init__(self, space):
        super().__init__(daemon=True)
        self.addresses = []
        self.fails = False
        self.asked = 0
        with space.inside():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        scope().connections.append(self)
        path = os.path.join(scope().directory(), "resolv.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write("nameserver 127.0.0.1\noptions timeout:1\n")
        self.prefix = ("unshare", "--mount", "sh", "-c", f'mount --bind {path} /etc/resolv.conf && exec "$@"', "sh")
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                query, sender = self.socket.recvfrom(2048)
                self.asked += 1
                if self.addresses is not None and len(query) > 12:
                    self.socket.sendto(self._answer(query), sender)

    def _answer(self, query):
        end = query.index(b"\0", 12) + 5  # of the question: a name, its type and class
        of_ipv4 = query[end - 4:end - 2] == b"\0\1"
        found = [socket.inet_aton(address) for address in self.addresses] if of_ipv4 else []
        if self.fails:
            return query[:2] + b"\x81\x82\0\1" + bytes(6) + query[12:end]  # SERVFAIL
        head = query[:2] + b"\x81\x80\0\1" + struct.pack(">HHH", len(found), 0, 0)
        records = b"".join(b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 0, 4) + address for address in found)
        return head + query[12:end] + records

    def shutdown(self):
        """Ends its wait."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self):
        """Ends it."""
        self.shutdown()
        self.socket.close()


class NetNode(Node):
    """A node on a machine of a network. Talking to it needs no cable: it is done on its own machine. `everywhere` is at all of that
    machine's addresses."""

    def __init__(self, network, machine, *options, prefix=(), everywhere=False, **more):
        self.space = network.spaces[machine]
        self.machine = machine
        host = "[::]" if everywhere else network.address(machine)
        super().__init__(*options, listen=f"{host}:{PORT}", pass_fds=(self.space.fd,),
                         prefix=(*self.space.entrance, *prefix), **more)
        self.host = network.address(machine)

    def connect(self, **options):
        with self.space.inside():
            return Connection(self.port, host=self.host, **options)

    def curl(self, *arguments, **more):
        """curl on the node's machine."""
        return curl(*arguments, prefix=self.space.entrance, pass_fds=(self.space.fd,), **more)
