"""Hundreds of files as people have them: each is read right, or refused with its reason; none is silently wrong.

python tools/odd_files.py [--all] [images] [meshes] [posed]

Writes every combination of what such files differ in, reads each through the engine, and compares with what was
written. Prints what is wrong, and counts of the rest; --all prints every line. The exit status is 1 if one is wrong.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from odd import images, meshes, posed

KINDS = {"images": images, "meshes": meshes, "posed": posed}


def main(arguments: list[str]) -> int:
    chosen = [name for name in KINDS if name in arguments] or list(KINDS)
    counts = Counter[tuple[str, str]]()
    for kind in chosen:
        with tempfile.TemporaryDirectory() as folder:
            for case in KINDS[kind].cases(Path(folder)):
                verdict = case.judge(case.path)
                head = verdict.partition(":")[0]
                counts[kind, head] += 1
                if head == "WRONG" or "--all" in arguments:
                    print(f"{kind} {case.name}: {verdict}")
    for kind in chosen:
        figures = ", ".join(f"{n} {head}" for (of, head), n in sorted(counts.items()) if of == kind)
        print(f"{kind}: {figures}")
    return int(any(head == "WRONG" for _, head in counts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
