"""Programs of others that run beside nodes: started, watched, and stopped with the test."""

import os
import shutil
import subprocess

from harness import SLOW, Skip, brief, check, scope

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def program(name, package):
    """Where it is; a test that needs it is skipped, and says so, when it is not there."""
    found = shutil.which(name, path=PATH)
    if not found:
        raise Skip(f"no {name} here (package {package})")
    return found


def run(*arguments, seconds=30, **rest):
    """Runs one to its end; its output as text, which must come with exit code 0."""
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, timeout=seconds * SLOW, **rest)
    text = done.stdout.decode("utf-8", "backslashreplace")
    check(done.returncode == 0, f"{os.path.basename(arguments[0])} ends with {done.returncode}: {brief(text[-700:], 800)}")
    return text


def write(name, text):
    """A file of this test, by its whole name."""
    path = os.path.join(scope().directory(), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


class Daemon:
    """One that goes on until the test's end. What it says goes to a file."""

    def __init__(self, *arguments, **rest):
        self.path = write(os.path.basename(arguments[0]) + ".log", "")
        with open(self.path, "wb") as log:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **rest)
        scope().nodes.insert(0, self)  # stopped before the nodes are

    def said(self):
        """The end of it, for messages."""
        with open(self.path, encoding="utf-8", errors="backslashreplace") as file:
            return brief(file.read()[-500:], 600)

    def kill(self):
        """For a test that takes too long."""
        self.process.kill()

    def finish(self):
        """Stops it."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(15 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return [f"{os.path.basename(self.path)}: it did not end in time"]
        return []
