"""Hostile attempts against the scripts, in their hundreds: wrong data, options, names, places, checkpoints, kills, a full disk.

A surprise is a traceback, a hang, a wrong status, a mistake that is taken for none, a line that a terminal would act on, or a
file of the user's that is lost. Each has its line; at the end comes a table of counts. Status 1 when there was any.
"""
import argparse
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = """examples:
  make torture                                        all of it
  python -m tests.torture --only pictures names       some families
  python -m tests.torture --every 10 --kills 2 --soak 20   a slice: every tenth attempt"""
PROCESSES = ("terminals", "interrupts", "races", "sampling kills", "training kills", "full disk", "soak")


def parse(argv):
    from tests.torture.families import FAMILIES
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*FAMILIES, *PROCESSES], metavar="FAMILY",
                        help=f"of {', '.join([*FAMILIES, *PROCESSES])} (default: all)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th attempt of each family (default: 1)")
    parser.add_argument("--quick", action="store_true", help="only attempts in which no network computes: a few minutes")
    parser.add_argument("--kills", type=int, default=25, help="of training, and of sampling (default: 25)")
    parser.add_argument("--soak", type=int, default=1000, metavar="IMAGES", help="images of the soak (default: 1000)")
    parser.add_argument("--work", metavar="DIR", help="where the files go (default: a temporary folder, removed at the end)")
    return parser.parse_args(argv)


def main(argv):
    import test
    from tests.torture import processes
    from tests.torture.attempts import campaign, script
    from tests.torture.families import FAMILIES, Bench
    args, begun = parse(argv), time.monotonic()
    wanted = args.only or [*FAMILIES, *PROCESSES]
    with tempfile.TemporaryDirectory(prefix="torture-", dir=args.work) as folder:
        bench = Bench(Path(folder))
        if args.quick:
            wanted = [name for name in wanted if name in (*FAMILIES, "terminals", "full disk")]
        elif set(wanted) & {"controls", "checkpoints", "manifests", *PROCESSES}:
            # Jittor compiles here, and takes its time, what the attempts below need.
            painting = script(test.main, *bench.test(bench.scratch() / "r"))
            for name, run in (("test.py", painting), ("train.py", bench.one_step())):
                status, text = run()
                if status:
                    raise SystemExit(f"{name} does not run here at all: {text}")
        table, surprises = {}, []
        for name in wanted:
            if name in FAMILIES:
                attempts = (attempt for i, attempt in enumerate(FAMILIES[name](bench)) if i % args.every == 0)
            else:
                attempts = processes.attempts(name, bench, args)
            counts, found = campaign(attempt for attempt in attempts if not (args.quick and attempt.paints))
            table.update(counts)
            surprises += found
            for family, (number, odd, seconds) in counts.items():
                print(f"{family}: {number} attempts, {odd} surprises, {seconds:.0f} s", flush=True)
    print(report(table, surprises, time.monotonic() - begun))
    return 1 if surprises else 0


def report(table, surprises, seconds):
    """The table of counts, as Markdown."""
    lines = ["", "| family | attempts | surprises | seconds |", "|---|---:|---:|---:|"]
    lines += [f"| {family} | {number} | {odd} | {took:.0f} |" for family, (number, odd, took) in table.items()]
    lines.append(f"| all | {sum(n for n, _, _ in table.values())} | {sum(n for _, n, _ in table.values())} | {seconds:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
