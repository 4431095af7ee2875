"""Registers tests, runs them side by side, and says what was seen.

A test is a function without arguments. It fails by raising (mostly through `check` and `equal`),
and whatever it opened or started through `client` and `node` is closed and stopped after it.
"""

import concurrent.futures
import contextlib
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import traceback

BINARY = os.path.abspath(os.environ.get("VELOUR_FOG", "build/velour-fog"))
WORKERS = 12
TEST_SECONDS_MAX = 60


def _read_binary():
    try:
        with open(BINARY, "rb") as file:
            return file.read()
    except OSError:
        return b""


_image = _read_binary()
ASAN = b"__asan_init" in _image
# Whether it runs with sanitizers, or under valgrind (tests/e2e/valgrind is a script). These have memory of their own beside the
# program's, so what the kernel counts says nothing of the program; and malloc is theirs.
GUARDED = ASAN or _image.startswith(b"#!")
# Upper bounds of time are multiplied by this; VELOUR_FOG_SLOW says how slow the binary is when that cannot be seen in it.
SLOW = int(os.environ.get("VELOUR_FOG_SLOW", "5" if ASAN or b"__ubsan_handle" in _image else "1"))
del _image


class Failure(Exception):
    """What was seen in place of what the promise says."""


class Skip(Exception):
    """Why this test can't be run on this machine."""


def brief(value, limit=300):
    """The value's text, cut to what fits a line."""
    text = value if isinstance(value, str) else repr(value)
    text = text.replace("\n", "\\n")
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def check(holds, seen):
    """Fails with what was seen unless it holds."""
    if not holds:
        raise Failure(brief(seen, 800))


def equal(seen, wanted, what):
    """Fails unless both are equal."""
    if seen != wanted:
        raise Failure(f"{what} is {brief(seen)}, wanted {brief(wanted)}")


def until(condition, seconds, what):
    """Waits until the condition gives something true, and returns that."""
    end = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"after {seconds * SLOW} s still not: {what}")
        time.sleep(0.01)


# --- what a test holds

_local = threading.local()


class Scope:
    """All that one test has opened; `finish` gives it back and returns what went wrong with it."""

    def __init__(self, name):
        self.name = name
        self.started = None
        self.aborted = False
        self.connections = []
        self.nodes = []
        self.threads = []
        self.counter = 0
        self.lock = threading.Lock()
        self._directory = None

    def directory(self):
        """A directory for files of this test only."""
        with self.lock:
            if self._directory is None:
                self._directory = tempfile.mkdtemp(prefix="fog-e2e-")
            return self._directory

    def abort(self):
        """Makes a test that takes too long fail: everything that it may wait for ends."""
        self.aborted = True
        for node in list(self.nodes):
            node.kill()
        for connection in list(self.connections):
            connection.shutdown()

    def finish(self):
        """Closes connections, then stops nodes: so no drain has anything to wait for."""
        problems = []
        for connection in self.connections:
            connection.close()
        for node in self.nodes:
            problems += node.finish()
        for thread in self.threads:
            thread.join(10 * SLOW)
        self.clean()
        return problems

    def clean(self):
        """Removes this test's files."""
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)


def scope():
    """The running test's scope."""
    return _local.scope


@contextlib.contextmanager
def entered(which):
    """The given scope is this thread's meanwhile."""
    before = getattr(_local, "scope", None)
    _local.scope = which
    try:
        yield which
    finally:
        _local.scope = before


class Background:
    """A function that runs beside the test; `result` waits for it and passes on what it raised."""

    def __init__(self, function, *arguments):
        self._value = None
        self._error = None
        owner = scope()

        def body():
            with entered(owner):
                try:
                    self._value = function(*arguments)
                except BaseException as error:  # pylint: disable=broad-except
                    self._error = error

        self._thread = threading.Thread(target=body, daemon=True)
        owner.threads.append(self._thread)
        self._thread.start()

    def runs(self):
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def error(self):
        """What it raised, or None."""
        return self._error

    def result(self, seconds=20):
        """What the function returned."""
        self._thread.join(seconds * SLOW)
        check(not self._thread.is_alive(), f"a thread of the test has not ended in {seconds * SLOW} s")
        if self._error:
            raise self._error
        return self._value


def fresh(suffix=""):
    """A key that no other test uses, as it stands in a target (without the first slash)."""
    owner = scope()
    with owner.lock:
        owner.counter += 1
        return f"{owner.name}-{owner.counter}{suffix}"


# --- the register

class _Test:
    def __init__(self, name, function, alone):
        self.name = name
        self.function = function
        self.alone = alone
        self.scope = Scope(name)


TESTS = []


def register(topic, name, function, *arguments, alone=False):
    """Adds one test; for tables of cases."""
    full = f"{topic}.{name}"
    assert full not in [t.name for t in TESTS], full
    assert re.fullmatch(r"[a-z0-9_.]+", full), full
    TESTS.append(_Test(full, lambda: function(*arguments), alone))


def test(function=None, *, alone=False):
    """Adds the function below; `alone` for what would be disturbed by a busy machine."""

    def add(inner):
        topic = inner.__module__.removeprefix("test_")
        register(topic, inner.__name__, inner, alone=alone)
        return inner

    return add(function) if function else add


def keep(topics, skipped):
    """Keeps the tests of these topics only; those of the table `skipped` say why and do nothing."""
    TESTS[:] = [one for one in TESTS if one.name.split(".")[0] in topics]
    unknown = set(skipped) - {one.name for one in TESTS}
    assert not unknown, f"there are no tests {sorted(unknown)}"

    def skip(reason):
        raise Skip(reason)

    for one in TESTS:
        if one.name in skipped:
            one.function = lambda reason=skipped[one.name]: skip(reason)


# --- the runner

def _run(one):
    """One test's outcome: (passed, text or None)."""
    own = one.scope
    own.started = time.monotonic()
    seen = None
    skipped = None
    with entered(own):
        try:
            one.function()
        except Skip as reason:
            skipped = str(reason)
        except Failure as failure:
            seen = str(failure)
        except BaseException as error:  # pylint: disable=broad-except
            at = traceback.extract_tb(error.__traceback__)[-1]
            seen = f"{type(error).__name__}: {brief(str(error))} ({os.path.basename(at.filename)}:{at.lineno})"
        if own.aborted:
            seen = f"took more than {TEST_SECONDS_MAX * SLOW} s; {seen or 'then ended'}"
        problems = own.finish()
    if problems:
        seen = "; ".join(([seen] if seen else []) + problems)
    own.started = None
    if seen:
        return False, seen
    return True, f"SKIP {skipped}" if skipped else None


def _watch(tests, stop):
    """Ends tests that take too long, and the whole run when even that does not help."""
    while not stop.wait(0.5):
        now = time.monotonic()
        for one in tests:
            started = one.scope.started
            if started is None:
                continue
            if now - started > TEST_SECONDS_MAX * SLOW and not one.scope.aborted:
                one.scope.abort()
            elif now - started > (TEST_SECONDS_MAX + 30) * SLOW:
                print(f"not ok {one.name}: hangs; giving up", flush=True)
                for other in tests:
                    other.scope.abort()
                os._exit(1)


def run(pattern, ends):
    """Runs the tests whose name contains the pattern; `ends` are (name, function) that give problems at the end."""
    chosen = [one for one in TESTS if pattern in one.name]
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(chosen, stop), daemon=True)
    watcher.start()
    passed = failed = skipped = 0

    def report(name, good, text):
        nonlocal passed, failed, skipped
        passed += bool(good and not text)
        failed += not good
        skipped += bool(good and text)
        if good:
            print(f"ok {name}" + (f" # {text}" if text else ""), flush=True)
        else:
            print(f"not ok {name}: {brief(text, 1500)}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        futures = [(one, pool.submit(_run, one)) for one in chosen if not one.alone]
        for one, future in futures:
            report(one.name, *future.result())
    for one in chosen:
        if one.alone:
            report(one.name, *_run(one))
    for name, function in ends if chosen else ():
        problems = function()
        report(name, not problems, "; ".join(problems) or None)
    stop.set()
    if skipped:
        print(f"{skipped} of these skipped")
    print(f"{passed} passed, {failed} failed")
    if not chosen:
        print(f"no test has '{pattern}' in its name", file=sys.stderr)
    return 1 if failed or not chosen else 0
