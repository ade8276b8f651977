"""Two processes that take turns, so that what they are timed at is the same minute on the same machine.

The one that starts the others asks, in lines of JSON on their stdin; only the one asked computes, the others wait asleep.
Needs nothing but Python, because one of them may run in an environment of its own.
"""
import contextlib
import json
import os
import subprocess
import sys
import time
import traceback

from runtime.errors import RunError

MARK = "ANSWER "  # what else a process prints on stdout (a compiler's progress) is passed on to stderr


class Side:
    """A process that answers: Side("ours", [python, "-m", module], cwd).ask("run", what="forward")."""

    def __init__(self, name, command, cwd, environ=None):
        self.name = name
        self.process = subprocess.Popen([os.fspath(part) for part in command], cwd=cwd, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env={**os.environ, **(environ or {})})

    def ask(self, do, **arguments):
        """The answer of the process's function `do`. Raises RunError when it fails or the process ends."""
        with contextlib.suppress(BrokenPipeError):                      # its end is reported below
            print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            printed, mark, answer = line.partition(MARK)
            if not mark:
                sys.stderr.write(line)
                continue
            sys.stderr.write(printed)
            answer = json.loads(answer)
            if "error" in answer:
                raise RunError(f"{self.name}: {do}: {answer['error']}")
            return answer["value"]
        status = self.process.wait()
        killed = " (killed: out of memory?)" if status == -9 else ""
        raise RunError(f"{self.name}: {do}: its process ended with status {status}{killed}; what it said is above")

    def close(self):
        """Ends the process, and waits until its memory is free."""
        with contextlib.suppress(BrokenPipeError):                      # it has ended
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:
            self.process.kill()                                         # it may be in the middle of something long
        self.close()


def serve(functions):
    """The loop of a process that is asked: functions is {name: function of keyword arguments that returns what JSON holds}."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"value": functions[request.pop("do")](**request)}
        except Exception as error:                                      # whatever it is, the one that asked has to hear of it
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"}
        print(MARK + json.dumps(answer), flush=True)


def timed(run, wait):
    """(seconds, seconds of all threads on a core, what run() returned); wait() waits for what run() started."""
    wait()
    time.sleep(0.05)                                                    # the other's threads spin a little after its turn
    start, cpu = time.perf_counter(), time.process_time()
    result = run()
    wait()
    return time.perf_counter() - start, time.process_time() - cpu, result
