"""The whole training from nothing, or the rest of it after an interruption.

    curriculum.py [--hours 2] [--workers 2] [--out weights]

Stages run one after another; each is a plan and a share of the time.  A finished stage is skipped, an interrupted one goes on from its last
checkpoint, so the same command starts and resumes.  The end is an exported checkpoint and its scores."""
import argparse
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# name, share of the time, extra arguments.  After "copy" recall inside the window works; upcycling carries it beyond.
STAGES = [("copy", 0.05, ["--workers", "1"]), ("far", 0.08, ["--upcycle"]), ("long", 0.17, []), ("mixed", 0.40, []), ("close", 0.30, ["--keep-optimizer"])]


def run(command):
    print(" ".join(command), flush=True)
    subprocess.run(command, check=True, cwd=HERE, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--hours", type=float, default=2.0)
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument("--runs", default=os.path.join(HERE, "runs"))
    ap.add_argument("--out", default=os.path.join(HERE, "runs", "weights"))
    a = ap.parse_args()
    python, before = sys.executable, ""
    for name, part, extra in STAGES:
        file = os.path.join(a.runs, name + ".pt")
        command = [python, "train.py", name, "--plan", f"plans/{name}.json", "--seconds", str(round(a.hours * 3600 * part)), "--workers", str(a.workers), "--runs", a.runs]
        done = [python, "-c", f"import os, sys, torch; sys.exit(not (os.path.exists({file!r}) and torch.load({file!r}).get('done')))"]
        if subprocess.run(done, cwd=HERE).returncode:
            run(command + (["--init", before] if before else []) + extra)
        before = file
    run([python, "release.py", before, a.out])
    run([python, "evaluate.py", a.out])
