"""What the benchmarks share: servers that are started, pinned and always stopped, and the load on them.

A Bench is used in a `with`; whatever was started inside has ended when it is left, also by an error,
Ctrl-C or SIGTERM. Servers run on one core, the generator on another, both on loopback only.
"""

import contextlib
import ctypes
import datetime
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOADGEN = ROOT / "build/bench/loadgen"
GENERATORS = ("loadgen", "propagate", "floor", "attack")
FLOOR = ROOT / "build/bench/floor"
BINARY = ROOT / "build/velour-fog"
KEY_BYTES = 16
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 10
CONNECTIONS_MAX = 20000
SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Trouble(Exception):
    """What ends a benchmark, as one sentence for the person who started it."""


class WrongReplies(Trouble):
    """A server gave a wrong reply, or none."""


def say(text):
    """Progress; stdout is for results only."""
    print(text, file=sys.stderr, flush=True)


def parse_size(text):
    """Bytes of 100, 64K, 1M or 2G."""
    match = re.fullmatch(r"(\d+)([KMG]?)(i?B)?", text)
    if not match:
        raise ValueError(f"not a size: {text}")
    return int(match[1]) * SIZES[match[2]]


def size_name(count):
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= scale and count % scale == 0:
            return f"{count // scale} {unit}"
    return f"{count} B"


def find_program(name):
    places = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin:/sbin"
    return shutil.which(name, path=places)


def first_line(command):
    """What a program says about itself; some say it on stderr."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else "unknown"


def free_port():
    """A port that was free a moment ago; a server that loses the race is started again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---- the servers ----


class Server:
    """One kind of server: how it is started, and what it is asked."""

    name = ""
    program = ""
    package = ""
    protocol = "http"
    ops = ("get", "set")
    value_bytes_max = 1 << 30
    version_option = "--version"
    shared_value = False  # one value for all keys

    def __init__(self, options=()):
        self.options = list(options)
        self.process = None
        self.address = None
        self.log = None
        self.core = None  # the bench's server core, unless set

    def path(self):
        return find_program(self.program)

    def version(self):
        return first_line([self.path(), self.version_option])

    def command(self, port, folder):
        raise NotImplementedError

    def prepare(self, bench, folder, **values):
        """Whatever must be there before the start."""

    def find_address(self, port):
        return f"127.0.0.1:{port}"

    def fill(self, bench, **options):
        return bench.load(self, op="fill", depth=16, **options)

    @property
    def pid(self):
        return self.process.pid

    def memory(self):
        """Resident bytes now, and the most that there ever were."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        now, peak = (int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024 for name in ("VmRSS", "VmHWM"))
        with contextlib.suppress(OSError):  # exact, where VmRSS lags by some pages
            rollup = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii")
            now = int(re.search(r"Rss:\s+(\d+) kB", rollup)[1]) * 1024
        return now, max(now, peak)


class VelourFog(Server):
    name = "velour-fog"
    binary = BINARY

    def path(self):
        return str(self.binary) if os.access(self.binary, os.X_OK) else None

    def command(self, port, folder):
        return [self.path(), "--listen", "127.0.0.1:0", *self.options]

    def find_address(self, port):
        """It takes a free port by itself and logs it."""
        found = re.search(r'address="?([^\s"]+)', self.log.read_text(encoding="utf-8", errors="replace"))
        return found[1] if found else None


class Redis(Server):
    name = "redis"
    program = "redis-server"
    package = "redis-server"
    protocol = "redis"

    def version(self):
        return re.sub(r" (sha|malloc|bits|build)=\S*", "", super().version())

    def command(self, port, folder):
        return [self.path(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                "--daemonize", "no", "--dir", str(folder), "--maxclients", str(CONNECTIONS_MAX), *self.options]


class Memcached(Server):
    name = "memcached"
    program = "memcached"
    package = "memcached"
    protocol = "memcached"

    def command(self, port, folder):
        user = ["-u", "root"] if os.geteuid() == 0 else []
        return [self.path(), *user, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "1", "-m", "4096",
                "-I", "2m", "-c", str(CONNECTIONS_MAX), *self.options]


NGINX_CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    keepalive_time 24h;
    sendfile on;
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {folder}/files;
        location / {{ {location} }}
    }}
}}
"""


class Nginx(Server):
    """nginx with a file for each key."""

    name = "nginx-static"
    program = "nginx"
    package = "nginx-core"
    ops = ("get",)
    version_option = "-v"
    location = ""

    def command(self, port, folder):
        text = NGINX_CONFIGURATION.format(folder=folder, port=port, location=self.location)
        (folder / "nginx.conf").write_text(text, encoding="ascii")
        return [self.path(), "-p", str(folder), "-e", str(folder / "nginx.error.log"), "-c",
                str(folder / "nginx.conf")]

    def prepare(self, bench, folder, **values):
        (folder / "files").mkdir(exist_ok=True)
        bench.loadgen(["--op", "files", "--directory", str(folder / "files"), *bench.arguments(values)])

    def fill(self, bench, **options):
        return None


class NginxReturn(Nginx):
    """nginx's `return 200`: HTTP and nothing behind it, one value for all keys."""

    name = "nginx-return"
    shared_value = True
    value_bytes_max = 2048  # a line of its configuration holds no more

    def prepare(self, bench, folder, **values):
        super().prepare(bench, folder, **{**values, "keys": 1})
        value = next((folder / "files").iterdir()).read_text(encoding="ascii")
        self.location = f'return 200 "{value}";'


class Floor(Server):
    """A bare epoll loop with a constant reply: what a server that speaks this HTTP costs at the least."""

    name = "floor"
    value_bytes_max = 4096
    shared_value = True

    def path(self):
        return str(FLOOR)

    def version(self):
        return "a bare epoll loop with a constant reply (tests/bench/floor.c)"

    def prepare(self, bench, folder, **values):
        (folder / "files").mkdir(exist_ok=True)
        bench.loadgen(["--op", "files", "--directory", str(folder / "files"), *bench.arguments({**values, "keys": 1})])

    def command(self, port, folder):
        return [self.path(), str(port), str(next((folder / "files").iterdir()))]

    def fill(self, bench, **options):
        return None


KINDS = {kind.name: kind for kind in (VelourFog, Redis, Memcached, NginxReturn, Nginx, Floor)}


# ---- the bench ----


class Bench:
    """Starts servers and loads, pins them, and ends all that it started."""

    def __init__(self, server_core=None, generator_core=None):
        cores = sorted(os.sched_getaffinity(0))
        self.server_core = cores[0] if server_core is None else server_core
        self.generator_core = cores[1 % len(cores)] if generator_core is None else generator_core
        if self.server_core == self.generator_core:
            say("note: one core for both ends: they disturb each other")
        self.processes = []
        self.folder = None

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="velour-fog-bench-"))
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, interrupt)
        os.sched_setaffinity(0, {self.generator_core})
        return self

    def __exit__(self, kind, error, trace):
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}  # a second Ctrl-C waits
        for process in reversed(self.processes):
            end_process(process)
        shutil.rmtree(self.folder, ignore_errors=True)
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def spawn(self, command, core, **options):
        """In a process group of its own, so that Ctrl-C reaches only this script, which then ends it. Not in a session of its own: of
        two sessions each has half of a core, whatever the priorities of their processes are (sched(7), autogroup)."""
        parent = os.getpid()

        def settle():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)
            os.setpgid(0, 0)
            os.sched_setaffinity(0, {core})
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

        # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
        process = subprocess.Popen(command, preexec_fn=settle, stdin=subprocess.DEVNULL, **options)
        self.processes.append(process)
        return process

    def start(self, server, **values):
        """A started server that takes connections."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix=server.name + "-", dir=self.folder))
        server.prepare(self, folder, **values)
        for _ in range(3):
            if self.try_start(server, folder):
                return server
            self.stop(server)
        tail = server.log.read_text(encoding="utf-8", errors="replace")[-500:]
        raise Trouble(f"{server.name} doesn't start: {tail}")

    def try_start(self, server, folder):
        port = free_port()
        server.log = folder / "log"
        with open(server.log, "wb") as log:
            server.process = self.spawn(server.command(port, folder), self.server_core if server.core is None else server.core,
                                        stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end and server.process.poll() is None:
            server.address = server.find_address(port)
            if server.address and answers(server.address) and server.process.poll() is None:
                return True
            time.sleep(0.02)
        return False

    def stop(self, server):
        if server.process:
            self.end(server.process)

    def end(self, process):
        end_process(process)
        if process in self.processes:
            self.processes.remove(process)

    @staticmethod
    def arguments(options):
        """{"value_bytes": 100, "spin": True} -> --value-bytes 100 --spin"""
        words = []
        for name, value in options.items():
            if value is None or value is False:
                continue
            words.append("--" + name.replace("_", "-"))
            if value is not True:
                words.append(str(value))
        return words

    def generator(self, words):
        return self.spawn([str(LOADGEN), *words], self.generator_core, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)

    def loadgen(self, words, seconds_max=3600):
        process = self.generator(words)
        try:
            output, complaints = process.communicate(timeout=seconds_max)
        finally:
            self.end(process)
        if process.returncode == 1:
            raise WrongReplies(f"wrong replies: {complaints.strip()} {output.strip()}")
        if process.returncode != 0:
            raise Trouble(complaints.strip() or f"the generator ended with {process.returncode}")
        return parse_line(output)

    def load(self, server, **options):
        """One bounded, checked load: the generator's line as a dict. Raises WrongReplies."""
        options.setdefault("cpu_pid", server.pid)
        options.setdefault("shared_value", server.shared_value)
        words = ["--protocol", server.protocol, "--address", server.address, *self.arguments(options)]
        try:
            return self.loadgen(words)
        except Trouble as trouble:
            state = "" if server.process.poll() is None else f" (it ended with {server.process.returncode})"
            raise type(trouble)(f"{server.name}{state}: {trouble}") from None


def interrupt(number, _frame):
    raise KeyboardInterrupt(f"signal {number}")


def end_process(process):
    """By its own id: first politely."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


def split_address(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def answers(address):
    with contextlib.suppress(OSError), socket.create_connection(split_address(address), timeout=1):
        return True
    return False


def parse_line(output):
    """The last line of name=value as a dict, numbers as floats."""
    found = {}
    for word in output.strip().splitlines()[-1].split() if output.strip() else []:
        name, _, value = word.partition("=")
        found[name] = float(value) if re.fullmatch(r"-?[\d.]+", value) else value
    return found


def http_get(address, path, seconds_max=10):
    """The body, or None when there is no such thing."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=seconds_max) as reply:
            return reply.read().decode("utf-8", "replace") if reply.status == 200 else None
    except OSError:
        return None


# ---- what every benchmark begins with ----


def build_loadgen():
    """By the Makefile where it can, else by the compiler alone."""
    if (ROOT / "Makefile").exists():
        done = subprocess.run(["make", "-s", "-C", str(ROOT), *(f"build/bench/{name}" for name in GENERATORS)],
                              capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        say("note: make failed, so the generators are compiled by hand: " + done.stderr.strip()[:500])
    LOADGEN.parent.mkdir(parents=True, exist_ok=True)
    for name in GENERATORS:
        source = ROOT / f"tests/bench/{name}.c"
        if subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", str(LOADGEN.parent / name), str(source)], check=False).returncode != 0:
            raise Trouble(f"{name} doesn't compile")


def choose_servers(names, asked, install=False):
    """Servers of these names that are there; a plain line about each that isn't."""
    missing = [name for name in names if not KINDS[name]().path()]
    packages = sorted({KINDS[name].package for name in missing} - {""})
    if install and packages:
        install_packages(packages)
        missing = [name for name in names if not KINDS[name]().path()]
    for name in missing:
        kind = KINDS[name]
        how = f"apt-get install {kind.package}, or --install" if kind.package else "run make first"
        if asked:
            raise Trouble(f"{name} is not there: {how}")
        say(f"skipped: {name} is not there ({how})")
    return [name for name in names if name not in missing]


def install_packages(packages):
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    command = [*sudo, "apt-get", "install", "-y", "--no-install-recommends", *packages]
    say("installing: " + " ".join(command))
    say("note: Debian starts their services, too; `systemctl disable --now` ends those")
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        raise Trouble("apt-get failed")


def machine_lines(names, bench):
    """The machine and the versions, as a Markdown list."""
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    yield f"- machine: {cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    yield f"- kernel: {platform.system()} {platform.release()}"
    yield f"- date: {datetime.date.today().isoformat()}"
    yield f"- load average before: {os.getloadavg()[0]:.2f}"
    yield f"- cores: servers on {bench.server_core}, generator on {bench.generator_core}"
    for name in names:
        yield f"- {name}: {KINDS[name]().version()}"
    yield f"- command: `tests/bench/{' '.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])}`"


def print_machine(names, bench):
    for line in machine_lines(names, bench):
        print(line)
    print(flush=True)


def table_lines(head, rows):
    """A Markdown table; all columns but the first stand to the right."""
    yield "| " + " | ".join(head) + " |"
    yield "|---|" + "---:|" * (len(head) - 1)
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"


def print_table(head, rows):
    for line in table_lines(head, rows):
        print(line)
    print(flush=True)


def add_common_options(parser, servers):
    parser.add_argument("--servers", type=lambda text: text.split(","), metavar="A,B",
                        help="of " + ", ".join(servers) + " (all that are there)")
    parser.add_argument("--binary", type=pathlib.Path, default=BINARY, help="velour-fog's (build/velour-fog)")
    parser.add_argument("--server-core", type=int, metavar="N", help="core of the servers (the first)")
    parser.add_argument("--generator-core", type=int, metavar="N", help="core of the generator (the second)")
    parser.add_argument("--install", action="store_true", help="install missing peers with apt-get")


def begin(options, servers):
    """Names of the servers to drive; builds the generator."""
    unknown = set(options.servers or []) - set(servers)
    if unknown:
        raise Trouble(f"unknown server: {', '.join(sorted(unknown))}; there are {', '.join(servers)}")
    VelourFog.binary = options.binary.resolve()
    names = choose_servers(options.servers or servers, bool(options.servers), options.install)
    if not names:
        raise Trouble("no server is there")
    build_loadgen()
    return names


def run_main(main):
    """0 when all went well, 1 when something measured was wrong, 2 for bad usage, 130 when interrupted."""
    try:
        sys.exit(main())
    except WrongReplies as trouble:
        say(f"{pathlib.Path(sys.argv[0]).name}: {trouble}")
        sys.exit(1)
    except Trouble as trouble:
        say(f"{pathlib.Path(sys.argv[0]).name}: {trouble}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("interrupted; all that was started has ended")
        sys.exit(130)
