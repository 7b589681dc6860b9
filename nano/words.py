"""Word material of the generator, split by content.

A word whose checksum falls into the held-out tenth never occurs in a training document as a name, a key or a part of a tool's name;
evaluation documents draw from that tenth only.  Numbers, dates and paths are fresh draws from spaces too large to be remembered."""
import os
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
CONSONANTS, VOWELS = "bcdfghklmnprstvz", "aeiou"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
EXTENSIONS = ["txt", "md", "py", "cpp", "json", "log", "csv", "sh", "html", "toml"]
FILLER = ("the of and to in is that for it with on as was at by from this have are not but all one can time new some day water house garden river "
          "stone light paper small large open green north south early market letter winter summer table window bridge silver forest island music "
          "morning evening train harbor mountain copper lemon cloud tiger rocket pencil basket mirror candle maple ocean").split()


def held_out(word):
    return zlib.crc32(word.lower().encode()) % 10 == 0


def _load():
    lists = {"noun": [], "verb": [], "adjective": []}
    with open(os.path.join(HERE, "text", "words.tsv"), encoding="ascii") as f:
        for line in f:
            kind, word = line.split()
            lists[kind].append(word)
    with open(os.path.join(HERE, "text", "sentences.txt"), encoding="ascii") as f:
        sentences = f.read().splitlines()
    return lists, sentences


_LISTS, _SENTENCES = _load()


class Words:
    """Draws from one side of the split.  r is a random.Random, so a seed fixes everything."""

    def __init__(self, r, held=False):
        self.r, self.held = r, held
        self.lists = {k: [w for w in v if held_out(w) == held] for k, v in _LISTS.items()}
        self.sentences = [s for s in _SENTENCES if held_out(s) == held]

    def noun(self):
        return self.r.choice(self.lists["noun"])

    def verb(self):
        return self.r.choice(self.lists["verb"])

    def adjective(self):
        return self.r.choice(self.lists["adjective"])

    def invented(self):
        r = self.r
        while True:
            if r.random() < 0.7:
                w = "".join(r.choice(CONSONANTS) + r.choice(VOWELS) for _ in range(r.randint(2, 4)))
                if r.random() < 0.25:
                    w += r.choice(CONSONANTS)
            else:
                w = "".join(r.choice(LETTERS) for _ in range(r.randint(3, 7)))
            if held_out(w) == self.held:
                return w

    def name(self):
        return self.invented() if self.r.random() < 0.6 else self.noun()

    def person(self):
        first = self.invented().capitalize()
        return first if self.r.random() < 0.6 else first + " " + self.invented().capitalize()

    def number(self, low=1, high=5):
        k = self.r.randint(low, high)
        return str(self.r.randint(10 ** (k - 1) if k > 1 else 0, 10 ** k - 1))

    def decimal(self):
        return f"{self.r.randint(0, 999)}.{self.r.randint(1, 99)}".rstrip("0")

    def date(self):
        r = self.r
        return f"{r.randint(1950, 2049)}-{r.randint(1, 12):02d}-{r.randint(1, 28):02d}"

    def code(self):
        r = self.r
        x = r.random()
        if x < 0.4:
            return "".join(r.choice(LETTERS.upper()) for _ in range(r.randint(1, 3))) + "-" + self.number(2, 5)
        if x < 0.7:
            return self.name() + "-" + self.number(1, 4)
        return "".join(r.choice("0123456789abcdef") for _ in range(r.randint(6, 12)))

    def path(self):
        r = self.r
        parts = [self.name() for _ in range(r.randint(0, 2))] + [self.name() + "." + r.choice(EXTENSIONS)]
        return ("/" if r.random() < 0.3 else "") + "/".join(parts)

    def folder(self):
        r = self.r
        return ("/" if r.random() < 0.3 else "") + "/".join(self.name() for _ in range(r.randint(1, 3)))

    def value(self):
        """what a fact states: mostly numbers and words"""
        r = self.r
        x = r.random()
        if x < 0.4:
            return self.number(2, 6)
        if x < 0.65:
            return self.name()
        if x < 0.78:
            return f"{self.name()} {self.name()}"
        if x < 0.88:
            return self.code()
        return r.choice([self.decimal, self.date, self.person, lambda: f"{r.randint(0, 23)}:{r.randint(0, 59):02d}"])()

    def text(self, low=2, high=6):
        """a few words as a person types them into a field"""
        r = self.r
        words = [r.choice([self.noun, self.noun, self.adjective, self.verb, self.invented])() for _ in range(r.randint(low, high))]
        return " ".join(words)

    def sentence(self):
        """filler: a salad of common words, a WordNet example, or a plain statement"""
        r = self.r
        x = r.random()
        if x < 0.3:
            s = " ".join(self.name() if r.random() < 0.12 else r.choice(FILLER) for _ in range(r.randint(4, 12)))
            return s[0].upper() + s[1:] + "."
        if x < 0.7:
            return r.choice(self.sentences)
        a, n, v, m = self.adjective(), self.noun(), self.verb(), self.noun()
        return r.choice([f"The {a} {n} can {v} the {m}.", f"We saw a {n} near the {a} {m}.", f"Every {n} has a {m}.", f"{self.person()} likes to {v}.",
                         f"It took {self.number(1, 3)} days to {v} the {n}.", f"They {v} and the {n} was {a}.", f"A {n} is not a {m}."])
