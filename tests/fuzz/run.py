"""`make fuzz`: each target under atheris, guided by coverage, for a while; what broke it is printed as a seed.

Every target runs in a process of its own, since a fuzzer never returns. ARGS: names of targets, and --seconds.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    if "--within" in sys.argv:
        fuzz(sys.argv[1], Path(sys.argv[-1]), int(sys.argv[3]))
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all of them where none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    asked = parser.parse_args()
    unknown = set(asked.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}")
    broken = [name for name in asked.targets or TARGETS if not run(name, asked.seconds)]
    print(f"broken: {', '.join(broken)}" if broken else "nothing broke")
    return 1 if broken else 0


def run(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; whether it stood."""
    from tests.fuzz.seeds import SEEDS

    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(SEEDS[name]):
            Path(folder, f"seed-{number}").write_bytes(seed)
        words = [sys.executable, "-m", "tests.fuzz.run", name, "--seconds", str(seconds), "--within", folder]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        last = [line for line in done.stderr.splitlines() if line.startswith(("#", "Done"))][-1:]
        print(f"{name}: {last[0] if last else 'did not start'}", flush=True)
        if done.returncode == 0:
            return True
        found = [path.read_bytes() for path in Path(folder).glob("crash-*")]
        print("\n".join(done.stderr.splitlines()[-60:] + [f"make this a seed of {name}: {raw!r}" for raw in found]))
        return False


def fuzz(name: str, folder: Path, seconds: int) -> None:
    """Let atheris have this process, and end it."""
    import atheris

    with atheris.instrument_imports(include=["partita"]):
        from partita.cli import causes, looking, machine, mending, render, sending  # noqa: F401 - to be instrumented
        from tests.fuzz.targets import TARGETS
    flags = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=30", f"-artifact_prefix={folder}/", str(folder)]
    atheris.Setup([sys.argv[0], *flags], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
