"""All rounds of one model: which settings each peer takes, and who measures when."""

import models
import report
from bars import LAMINAR
from failure import Failure
from peers import Worker, choose, untried


class Match:
    """The sides and the tests they all run."""

    def __init__(self, names, tests, laminar, peers, args, say):
        self.names, self.tests, self.laminar, self.peers = names, tests, laminar, peers
        self.args, self.say = args, say

    def play(self, subject):
        """A model's part of the report. One that can not be measured says why in `error`, and the others go on."""
        try:
            subject.ensure(self.laminar, self.say)
            about = models.describe(self.laminar.inspect(subject.path))
            fitting = [test for test in self.tests if test.fits(about["context_length"])]
            if not fitting:
                raise Failure(f"no test fits its context of {about['context_length']} tokens")
            settings, trials, errors = self.prepare(subject, about, fitting)
            rounds = [self.round(subject, fitting, settings, number) for number in range(self.args.repeat)]
        except Failure as failure:
            self.say(f"{subject.name}: {failure}")
            return {"name": subject.name, "file": str(subject.path), "error": str(failure), "tests": []}
        finally:
            if self.args.delete_models:
                subject.drop()
        names = [name for name in self.names if name == LAMINAR or name in settings]
        tests = [report.test_report(test, about["kind"], about["weight_type"], rounds, names) for test in fitting]
        head = {"name": subject.name, "file": str(subject.path), "error": None, **about}
        return {**head, "tests": tests, "settings": settings, "trials": trials, "left_out": errors}

    def prepare(self, subject, about, tests):
        """The settings of each peer for each test, the trials that led to them, and why a peer is left out."""
        settings, trials, errors = {}, {}, {}
        for name, peer in self.peers.items():
            say = self.named(f"{subject.name}: {name}")
            try:
                with self.worker(peer, subject) as worker:
                    if worker.hello["vocab"] != about["vocab"]:
                        vocab = f"{worker.hello['vocab']} tokens where laminar reads {about['vocab']}"
                        raise Failure(f"{name}: it reads a vocabulary of {vocab}")
                    if self.args.trials:
                        settings[name], trials[name] = choose(worker, tests, say)
                    else:
                        settings[name] = {test.name: untried(worker, test) for test in tests}
            except Failure as failure:
                self.say(f"{subject.name}: left out: {failure}")
                errors[name] = str(failure)
        return settings, trials, errors

    def round(self, subject, tests, settings, number):
        """Every side's results. Another side begins each round, so that a drift meets all alike."""
        shift = number % len(self.names)
        results = {}
        for name in self.names[shift:] + self.names[:shift]:
            if name == LAMINAR:
                results[name] = self.laminar.measure(subject.path, tests)
            elif name in settings:
                results[name] = self.measure(self.peers[name], subject, tests, settings[name])
            else:
                continue
            place = f"{subject.name}: round {number + 1} of {self.args.repeat}: {name}"
            self.say(f"{place}: {summary(results[name])}")
        return results

    def measure(self, peer, subject, tests, settings):
        """Each test once, in a process of its own."""
        results = {}
        with self.worker(peer, subject) as worker:
            for test in tests:
                seconds, error = worker.run(test, settings[test.name])
                speed = test.tokens / seconds if seconds else None
                results[test.name] = {"tokens_per_s": speed, "error": error and f"{peer.name}: {error}"}
        return results

    def worker(self, peer, subject):
        return Worker(peer, subject.path, self.args.threads, self.args.seed)

    def named(self, prefix):
        return lambda text: self.say(f"{prefix}: {text}")


def summary(results):
    speeds = ((name, result["tokens_per_s"]) for name, result in results.items())
    return ", ".join(f"{name} {report.number(speed)}" if speed else f"{name} failed" for name, speed in speeds)
