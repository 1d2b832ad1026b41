"""The programs that Laminar is compared with: where their libraries are, and measurements in processes of their own."""

import json
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from failure import Failure

HERE = Path(__file__).resolve().parent

# What both take by themselves; used without trials.
SETTINGS = {"flash": True, "ubatch": 512, "unified": False}
# Of ik_llama.cpp where several sequences decode together, with trials and without: its flash attention (0.1.5) then
# stops with a failed assertion, or computes other logits than for each sequence alone.
PLAIN = {**SETTINGS, "flash": False}
# Steps of a trial.
TRIAL_STEPS = {"one": 24, "many": 8}


@dataclass
class Peer:
    """A library to compare with, and the header that tells the layout of its structs."""

    name: str
    library: Path
    header: Path
    package: str

    def describe(self):
        """What a report says of it; the library speaks for itself in a process of its own."""
        command = [sys.executable, str(HERE / "capi.py"), str(self.library), str(self.header)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            raise Failure(f"{self.name}: {lines[-1]}")
        about = {"name": self.name, "package": self.package, "library": str(self.library)}
        return {**about, **json.loads(done.stdout.splitlines()[-1])}

    @staticmethod
    def at(name, library, header):
        """The peer at a path that was given."""
        library = Path(library).expanduser().absolute()
        if not library.is_file():
            raise Failure(f"{library}: no such file")
        header = Path(header).expanduser() if header else header_of(library)
        if not header.is_file():
            raise Failure(f"{header}: no such file")
        return Peer(name, library, header, package_of(library, header))


def header_of(library):
    """The `llama.h` of an installed library, of a wheel's, or of the source that a build folder names."""
    for folder in list(library.resolve().parents)[:4]:
        candidates = [folder / "include" / "llama.h"]
        cache = folder / "CMakeCache.txt"
        if cache.is_file():
            home = re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", cache.read_text(errors="replace"), re.MULTILINE)
            candidates += [Path(home.group(1)) / "include" / "llama.h"] if home else []
        for candidate in candidates:
            if candidate.is_file():
                return candidate
    raise Failure(f"{library}: found no include/llama.h that belongs to it; name it with --llama-header or --ik-header")


def package_of(library, header):
    """The Python package and version a library came in, if its path or its neighbours tell."""
    folders = list(library.resolve().parents)[:4]
    names = [path.name for folder in folders for path in folder.glob("*llama_cpp_python-*.dist-info")]
    for text in [*names, str(header)]:
        match = re.search(r"((?:ik_)?llama_cpp_python)-(\d[\w.]*?)(?=\.dist-info|/|$)", text)
        if match:
            return f"{match.group(1).replace('_', '-')} {match.group(2)}"
    return None


class Worker:
    """A peer with a model loaded, in a process of its own until the end of a `with`."""

    def __init__(self, peer, model, threads, seed):
        self.peer = peer
        self.job = {
            "library": str(peer.library),
            "header": str(peer.header),
            "model": str(model),
            "threads": threads,
            "seed": seed,
        }
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, exception, *_):
        if self.process:
            self.process.stdin.close()
            if exception:
                self.process.kill()
            self.process.wait()
            self.process = None

    def start(self):
        self.errors = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "peer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.hello = self.ask(self.job)
        if "error" in self.hello:
            raise Failure(f"{self.peer.name}: {self.hello['error']}")

    def ask(self, line):
        try:
            self.process.stdin.write(json.dumps(line) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        return json.loads(answer) if answer else {"error": self.end()}

    def end(self):
        """How the process ended, which it should not have done."""
        code = self.process.wait()
        self.process = None
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if line.strip()]
        telling = [line for line in lines if re.search(r"assert|error", line, re.IGNORECASE)] or lines
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return f"{how}: {telling[-1]}" if telling else how

    def run(self, test, settings):
        """Seconds of a measurement, or an error's text."""
        if self.process is None:
            self.start()
        answer = self.ask({"test": test.job(), "settings": settings})
        return answer.get("seconds"), answer.get("error")


def untried(worker, test):
    """The settings of a test without trials."""
    many = test.kind == "decode" and test.rows > 1
    return PLAIN if many and not worker.hello["splits_kv"] else SETTINGS


def choose(worker, tests, say):
    """Tries the settings that matter; returns the fastest for each test, and all trials."""
    chosen, trials = {}, []
    many = {}

    def tried(test, settings):
        seconds, error = worker.run(test, settings)
        speed = test.tokens / seconds if seconds else None
        trials.append({"test": test.name, "settings": settings, "tokens_per_s": speed, "error": error})
        say(f"trial {test.name} with {describe(settings)}: {error or f'{speed:.1f} t/s'}")
        return speed or 0.0, settings

    for test in tests:
        if test.kind == "prefill":
            speeds = [tried(test, settings) for settings in flashes()]
            if test.rows > SETTINGS["ubatch"]:
                speeds.append(tried(test, {**fastest(speeds), "ubatch": test.rows}))
            chosen[test.name] = fastest(speeds)
        elif test.rows == 1:
            short = test.shortened(TRIAL_STEPS["one"])
            chosen[test.name] = fastest([tried(short, settings) for settings in flashes()])
        else:
            if test.shared not in many:
                short = test.shortened(TRIAL_STEPS["many"])
                candidates = layouts() if worker.hello["splits_kv"] else [PLAIN]
                many[test.shared] = fastest([tried(short, settings) for settings in candidates])
            chosen[test.name] = many[test.shared]
    return chosen, trials


def fastest(speeds):
    """The settings of the first of the highest speeds."""
    return max(speeds, key=lambda pair: pair[0])[1]


def flashes():
    return [{**SETTINGS, "flash": flash} for flash in (True, False)]


def layouts():
    return [{**SETTINGS, "flash": flash, "unified": unified} for flash in (True, False) for unified in (False, True)]


def describe(settings):
    words = [f"flash attention {'on' if settings['flash'] else 'off'}", f"ubatch {settings['ubatch']}"]
    return ", ".join(words + (["one KV cache for all"] if settings["unified"] else []))
