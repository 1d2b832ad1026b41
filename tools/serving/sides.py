"""The sides of the comparison: a server, its settings, and the command that starts it."""

from dataclasses import dataclass

from failure import Failure

LLAMA = "llama-server"
LAMINAR = "laminar"
# Policies of Laminar that keep a target, with the flags that choose them.
WITH_TARGET = {"adaptive": ["--policy", "adaptive"], "chunked-auto": ["--policy", "chunked", "--chunk", "auto"]}
WITHOUT_TARGET = {"layered": ["--policy", "layered"], "chunked": ["--policy", "chunked"], "whole": ["--policy", "whole"]}

DEFAULT_LLAMA = "default,64,128,512,2048"
DEFAULT_LAMINAR = "adaptive-1.5,adaptive-2,adaptive-4,chunked-auto-1.5,chunked-auto-2,chunked-auto-4,layered,chunked,whole"


@dataclass(frozen=True)
class Side:
    """A server with settings."""

    server: str
    setting: str
    # llama-server: tokens of a batch, None for its default.
    batch: int = None
    # Laminar: the policy, and its target as a multiple of the plain decode step.
    policy: str = None
    factor: float = None

    @property
    def name(self):
        return f"{self.server} {self.setting}"

    def command(self, binary, model, port, threads, slots, context):
        """How to start it. `context` is what one sequence may have; `target` is filled in by `with_target`."""
        if self.server == LLAMA:
            batch = ["-b", str(self.batch), "-ub", str(self.batch)] if self.batch else []
            return [
                *[str(binary), "-m", str(model), "-t", str(threads), "-tb", str(threads), "--host", "127.0.0.1"],
                *["--port", str(port), "-np", str(slots), "-c", str(slots * context), "--cache-ram", "0"],
                *["--alias", model.stem, *batch],
            ]
        policy = WITH_TARGET.get(self.policy) or WITHOUT_TARGET[self.policy]
        return [
            *[str(binary), "serve", "--quiet", "--model", str(model), "--host", "127.0.0.1", "--port", str(port)],
            *["--threads", str(threads), "--ctx", str(context), "--max-seqs", str(slots), *policy],
        ]


def llama(names):
    """llama-server's settings: `default`, or the tokens of a batch."""
    sides = []
    for name in split(names):
        if name != "default" and not (name.isdigit() and int(name) > 0):
            raise Failure(f"--llama: {name}: use default, or a number of tokens")
        batch = None if name == "default" else int(name)
        sides.append(Side(LLAMA, "default" if batch is None else f"-ub {batch}", batch=batch))
    return sides


def laminar(names):
    """Laminar's settings: a policy, with `-FACTOR` behind it where it keeps a target."""
    sides = []
    for name in split(names):
        if name in WITHOUT_TARGET:
            sides.append(Side(LAMINAR, name, policy=name))
            continue
        policy, _, factor = name.rpartition("-")
        if policy not in WITH_TARGET or not is_factor(factor):
            known = ", ".join([*WITHOUT_TARGET, *(f"{policy}-FACTOR" for policy in WITH_TARGET)])
            raise Failure(f"--laminar: {name}: use {known}")
        sides.append(Side(LAMINAR, f"{policy} {float(factor):g}x", policy=policy, factor=float(factor)))
    return sides


def is_factor(text):
    try:
        return 1 < float(text) < 1e6
    except ValueError:
        return False


def split(names):
    return [name.strip() for name in names.split(",") if name.strip()]
