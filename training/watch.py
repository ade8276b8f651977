"""The watch over the processes of a training: one that stalls is named, and with it all end.

Every process tells, whenever it comes to where they exchange something, how often it has come there and how many seconds it
may take to the next time: one datagram, which costs it nothing. A program of its own beside process 0 listens, so that it
works while Jittor computes or a process hangs in the kernel. Processes wait for each other at every exchange: the one that has
come there least often, and is late, is the one that the others wait for. Nothing here imports Jittor or MPI.
"""
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time

LOOKS = 1.0            # seconds between looks


class Watch:
    """Starts the program for `size` processes, which lives as long as this one."""

    def __init__(self, size):
        # -I: of this folder's files none is taken for a module of Python's.
        self.program = subprocess.Popen([sys.executable, "-I", os.path.abspath(__file__), str(size)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def address(self, host):
        """(host, port) where it listens."""
        return host, int(self.program.stdout.readline())


class News:
    """What one process tells the watch."""

    def __init__(self, address, rank, host):
        self.address, self.rank, self.host = address, rank, host
        self.came, self.allowed, self.known = 0, math.inf, None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def arrives(self):
        """At an exchange."""
        self.came += 1
        self.tell(self.allowed)

    def tell(self, allowed):
        """How often it came, and that it may take so many seconds to the next time."""
        text = f"{self.rank} {self.came} {allowed} {os.getpid()} {self.host}".encode()
        try:
            self.socket.sendto(text, self.address)
        except OSError:                  # a watch that cannot be reached watches nothing; training needs none
            pass


def stalled(heard, size, now):
    """The ranks that the others wait for, and that are late. heard: {rank: (times it came, when it said so, seconds it may
    take)}. None are while one has not been heard of, or has any time."""
    if len(heard) < size:
        return []
    least = min(came for came, _, _ in heard.values())
    last = {rank: now - since - allowed for rank, (came, since, allowed) in heard.items() if came == least}
    return sorted(last) if all(late > 0 for late in last.values()) else []


def main(size):
    """Listens until the process that started it ends; kills that at a stall, by which mpirun ends all."""
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM):           # meant for the training, which finishes its step
        signal.signal(number, signal.SIG_IGN)
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind(("", 0))
    print(listening.getsockname()[1], flush=True)
    heard, names = {}, {}
    while True:
        ready, _, _ = select.select([sys.stdin, listening], [], [], LOOKS)
        if sys.stdin in ready:
            return                                           # its end: nothing is ever written there
        if listening in ready:
            rank, came, allowed, pid, host = listening.recv(1024).decode().split()
            heard[int(rank)] = int(came), time.monotonic(), float(allowed)
            names[int(rank)] = f"process {rank} of {size} (pid {pid} on {host})"
            continue
        for rank in stalled(heard, size, time.monotonic()):
            late = time.monotonic() - heard[rank][1]
            print(f"{names[rank]} has stalled: for {late:.0f} s it has not come to where the others wait. All end; --resume "
                  "goes on from what was saved", file=sys.stderr, flush=True)
        if stalled(heard, size, time.monotonic()):
            os.kill(parent, signal.SIGKILL)
            return


if __name__ == "__main__":
    main(int(sys.argv[1]))
