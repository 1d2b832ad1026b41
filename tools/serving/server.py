"""A server in a process of its own, from its start to its end."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request

from failure import Failure

# Loading a model takes seconds, on a busy machine minutes.
READY_S = 600
STOP_S = 20


class Server:
    """Runs a command until the `with` block ends. `url` is where it answers."""

    def __init__(self, command, port, log):
        self.command, self.port, self.log = command, port, log
        self.url = f"http://127.0.0.1:{port}"
        self.process = None

    def __enter__(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait(self):
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failure(f"{self.command[0]}: ended with status {self.process.returncode}; {self.log} tells why")
            if self.health() is not None:
                return
            time.sleep(0.1)
        raise Failure(f"{self.command[0]}: does not answer after {READY_S} s; {self.log} tells why")

    def health(self):
        """What /health says, or None while the server is not ready."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=30) as answer:
                return json.load(answer)
        except (urllib.error.URLError, OSError, ValueError):
            return None

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
