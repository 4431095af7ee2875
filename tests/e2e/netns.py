"""Networks of their own: each node in a network namespace with its own address, all on one bridge.

The namespaces have no names and hang on file descriptors of this process, so whatever ends it, the kernel takes them
away, with their links and rules. It takes root, ip, nsenter and iptables; without them a test is skipped.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess

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


class NetNode(Node):
    """A node on a machine of a network. Talking to it needs no cable: it is done on its own machine."""

    def __init__(self, network, machine, *options, prefix=(), **more):
        self.space = network.spaces[machine]
        self.machine = machine
        super().__init__(*options, listen=f"{network.address(machine)}:{PORT}", pass_fds=(self.space.fd,),
                         prefix=(*self.space.entrance, *prefix), **more)
        self.host = network.address(machine)

    def connect(self, **options):
        with self.space.inside():
            return Connection(self.port, host=self.host, **options)

    def curl(self, *arguments, **more):
        """curl on the node's machine."""
        return curl(*arguments, prefix=self.space.entrance, pass_fds=(self.space.fd,), **more)
