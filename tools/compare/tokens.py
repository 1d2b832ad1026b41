"""The random token ids that `laminar bench engine` feeds its model, so that every side computes on the same ones."""

MASK = (1 << 64) - 1


class SplitMix:
    """SplitMix64 (Steele et al., Fast splittable pseudorandom number generators, OOPSLA 2014)."""

    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)


class Tokens:
    """A stream of ids for prompts and contexts, and one for every sequence that decodes."""

    def __init__(self, seed, vocab):
        self.seed, self.vocab = seed, vocab

    def prompt(self, count):
        return self.stream(0, count)

    def decoding(self, sequence, count):
        return self.stream(1 + sequence, count)

    def stream(self, number, count):
        seeds = SplitMix(self.seed)
        for _ in range(number):
            seeds.next()
        random = SplitMix(seeds.next())
        return [random.next() % self.vocab for _ in range(count)]
