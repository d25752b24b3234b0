"""What CI does, step by step: format, lint, types, tests. Stops at the first step that fails and says which.

python tools/check.py               everything but the slow proofs
python tools/check.py --all         the slow proofs on real data too
python tools/check.py --no-tests    format, lint and types alone
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    tests = [] if "--all" in sys.argv[1:] else ["-m", "not slow"]
    steps = {
        "format": ["ruff", "format", "--check", "."],
        "lint": ["ruff", "check", "."],
        # without this pyright reads the first python on PATH, which need not be the one that has the packages
        "types": ["pyright", "--pythonpath", sys.executable],
        "tests": ["pytest", *tests],
    }
    if "--no-tests" in sys.argv[1:]:
        del steps["tests"]
    for name, (module, *arguments) in steps.items():
        print(f"\n== {name}: {module} {' '.join(arguments)}", flush=True)
        code = subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=False).returncode
        if code:
            print(f"\n{name} failed with exit code {code}")
            return code
    print("\nall of it passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
