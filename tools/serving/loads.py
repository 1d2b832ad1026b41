"""How many experts a prompt's rows loaded, from the counters that Laminar shows at /health.

The counters are sums over all requests. They are looked at once a second, so a prompt's loads are what was added between
the last look before anything of it had run and the first one after all of it had, if nothing else ran meanwhile.
"""

import threading

EVERY_S = 1.0


class Watch:
    """Looks at a server until the `with` block ends."""

    def __init__(self, server):
        self.server = server
        self.looks = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        # The last prompt is through and nothing has come since.
        self.look()

    def run(self):
        while not self.over.wait(EVERY_S):
            self.look()

    def look(self):
        engine = (self.server.health() or {}).get("engine")
        if engine:
            self.looks.append((engine["prompt_tokens"], engine["prefill_expert_loads"], engine["prefilling"]))


def of_prompts(looks, lengths):
    """Loads of each of these prompts, which came in this order; None where something else ran beside one."""
    found = []
    # Looks while no prompt was under way: counters between prompts.
    quiet = [(tokens, loads) for tokens, loads, prefilling in looks if not prefilling]
    steps = [
        (after[0] - before[0], after[1] - before[1])
        for before, after in zip(quiet, quiet[1:])
        if after[0] != before[0] or after[1] != before[1]
    ]
    for length in lengths:
        loads = None
        while steps and loads is None:
            tokens, added = steps.pop(0)
            if tokens == length:
                loads = added
        found.append(loads)
    return found
