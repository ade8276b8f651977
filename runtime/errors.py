"""Errors a user can do something about: one line per problem, exit status 2, no traceback."""
import sys

AT_FAILURE = []  # functions of the exit status, called before a script ends with one that is not 0
SHOWN = 20  # a folder with 10,000 bad files is one mistake, not 10,000 lines


class UserError(ValueError):
    """What a user got wrong. `problems`: one line each, "where: what was found, what was expected"."""

    def __init__(self, problems):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.report()))

    def report(self):
        """The first 20 problems, one line each, and how many there are in all when there are more."""
        lines = self.problems[:SHOWN]
        if len(self.problems) > SHOWN:
            lines = lines + [f"... {len(self.problems)} problems in all, the first {SHOWN} shown"]
        return lines


class RunError(RuntimeError):
    """What failed while running although the user did nothing wrong (a loss that is not finite, a full disk)."""


class Stopped(Exception):
    """A signal asked the run to end, and it has: what it did is saved. status: 128 and the signal's number."""

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


def run_script(main, argv=None):
    """Calls main(argv) and exits: 0 when it returns, 2 after a UserError, 1 after a RunError, 130 after Ctrl-C, 143 after
    SIGTERM where a run finishes its step first."""
    try:
        main(sys.argv[1:] if argv is None else argv)
    except (UserError, RunError, Stopped, KeyboardInterrupt) as error:
        status = say(error)
        for call in AT_FAILURE:
            call(status)
        sys.exit(status)


def say(error):
    """Prints a UserError, RunError or KeyboardInterrupt for people and returns the exit status that goes with it."""
    if isinstance(error, UserError):
        for line in error.report():
            print(f"error: {line}", file=sys.stderr)
        return 2
    if isinstance(error, RunError):
        print(f"failed: {error}", file=sys.stderr)
        return 1
    if isinstance(error, Stopped):
        print(error, file=sys.stderr)
        return error.status
    print("interrupted; what was saved is intact", file=sys.stderr)
    return 130


def excepthook(kind, error, trace):
    """A sys.excepthook that treats errors outside run_script (while importing) as run_script does."""
    if not issubclass(kind, (UserError, RunError, KeyboardInterrupt)):
        sys.__excepthook__(kind, error, trace)
        return
    status = say(error)
    sys.stderr.flush()
    sys.exit(status)
