"""Derive the word lists and filler sentences from WordNet 3.0 (Debian package wordnet-base); the results are committed.

    text/extract.py [/usr/share/wordnet]

words.tsv: lower-case single words of 3 to 9 letters with their part of speech, the most frequent ones of WordNet's own count.
sentences.txt: short example sentences.  Both are only material: the model is not meant to learn what they mean."""
import os
import re
import sys
import zlib
from collections import Counter

WANTED = {"noun": ("1", 1500), "verb": ("2", 600), "adjective": ("3", 500)}
SENTENCES = 3000
# Words that a demonstration should not say at random, and everything that begins with them.
AVOID = re.compile(r"\b(sex|rap(e|ing|ist)|kill|murder|slay|whor|slut|bitch|nigg|negro|jew|gay|lesb|queer|nude|naked|fuck|shit|piss|ass\b|arse|bastard|damn|"
                   r"hell\b|bomb|gun|shoot|shot|suicid|drug|drunk|slave|breast|penis|vagin|virgin|intercours|orgas|god|jes|christ|musl|islam|cath|hitler|nazi|"
                   r"war\b|wars|dead|death|die|dying|blood|corpse|hang|torture|abus|lover|mistress|seduc|black|white|race|racis|communis|terror|attack|"
                   r"stupid|idiot|fat\b|ugly|crippl|retard|cancer|hate|prostitut|womani|erot|lust|gypsy|savage|colored)", re.I)


def words(folder):
    count = {k: Counter() for k in WANTED}
    for line in open(os.path.join(folder, "cntlist.rev"), encoding="ascii"):
        key, _, n = line.split()
        lemma, sense = key.split("%")
        if re.fullmatch("[a-z]{3,9}", lemma) and not AVOID.search(lemma):
            for kind, (digit, _) in WANTED.items():
                if sense[0] == digit:
                    count[kind][lemma] += int(n)
    for kind, (_, limit) in WANTED.items():
        for w, _ in sorted(count[kind].items(), key=lambda x: (-x[1], x[0]))[:limit]:
            yield kind, w


def sentences(folder):
    found = set()
    for part in ("noun", "verb", "adj", "adv"):
        for line in open(os.path.join(folder, "data." + part), encoding="ascii"):
            for s in re.findall(r'"([^"]*)"', line.partition("|")[2]):
                if re.fullmatch(r"[A-Za-z][A-Za-z ,']{20,78}", s) and 4 <= len(s.split()) <= 13 and not AVOID.search(s):
                    found.add(s[0].upper() + s[1:] + ".")
    return sorted(sorted(found, key=lambda s: (zlib.crc32(s.encode()), s))[:SENTENCES])


if __name__ == "__main__":
    source = sys.argv[1] if len(sys.argv) > 1 else "/usr/share/wordnet"
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "words.tsv"), "w") as f:
        f.writelines(f"{kind}\t{w}\n" for kind, w in words(source))
    with open(os.path.join(here, "sentences.txt"), "w") as f:
        f.writelines(s + "\n" for s in sentences(source))
