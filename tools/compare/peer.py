"""Measures llama.cpp or ik_llama.cpp through its C API: a program of its own, so that its memory goes with it.

The first line of stdin is a JSON object with `library`, `header`, `model`, `threads` and `seed`; every further line is
one measurement, with its `test` and `settings`. Each is answered by a line on stdout, with `error` where it went wrong.
A library that aborts takes the program with it, and the end of the answers tells.
"""

import json
import math
import os
import sys
import time

from capi import Library, Model, PeerError, Session
from structs import HeaderError
from tokens import Tokens

# Cells of a KV cache come in multiples of this.
CELLS = 256
# Tokens of a warm-up prompt, at most.
WARM = 512


def main():
    # The libraries may print to stdout: keep it for the answers, and give them stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**line):
        print(json.dumps(line), file=answers, flush=True)

    job = json.loads(sys.stdin.readline())
    try:
        library = Library(job["library"], job["header"])
        begin = time.perf_counter()
        model = Model(library, job["model"])
    except (PeerError, HeaderError) as error:
        say(error=str(error))
        return
    say(
        load_seconds=time.perf_counter() - begin,
        vocab=model.vocab,
        splits_kv=hasattr(library.context_params, "kv_unified"),
    )
    tokens = Tokens(job["seed"], model.vocab)
    for line in sys.stdin:
        run = json.loads(line)
        measure = prefill if run["test"]["kind"] == "prefill" else decode
        try:
            say(seconds=measure(model, run["test"], run["settings"], job["threads"], tokens))
        except PeerError as error:
            say(error=str(error))


def prefill(model, test, settings, threads, tokens):
    """Seconds of one prompt, up to the logits of its last token."""
    count = test["rows"]
    with Session(model, settings, threads, padded(count), 1) as session:
        prompt = session.prompt(tokens.prompt(count))
        session.decode(session.prompt(tokens.prompt(min(count, WARM))))
        session.clear()
        return timed(session, [prompt])


def decode(model, test, settings, threads, tokens):
    """Seconds of the decode steps of some sequences, each behind a context."""
    streams, context, steps = test["rows"], test["context"], test["steps"]
    with Session(model, settings, threads, streams * padded(context + steps + 1), streams) as session:
        session.decode(session.prompt(tokens.prompt(context)))
        (session.share if test["shared"] else session.copy)(0, range(1, streams))
        drawn = [tokens.decoding(sequence, steps) for sequence in range(streams)]

        def step(token, position):
            return session.rows([(drawn[sequence][token], position, sequence, True) for sequence in range(streams)])

        session.decode(step(0, context))
        return timed(session, [step(number, context + 1 + number) for number in range(steps)])


def timed(session, batches):
    begin = time.perf_counter()
    for batch in batches:
        session.decode(batch)
    seconds = time.perf_counter() - begin
    if not all(map(math.isfinite, session.last_logits())):
        raise PeerError("the logits are not finite: a time of that means nothing")
    return seconds


def padded(cells):
    return -(-cells // CELLS) * CELLS


if __name__ == "__main__":
    main()
