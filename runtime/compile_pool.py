"""The processes in which Jittor compiles operators, and how they end when a signal goes to all of them at once.

A terminal sends Ctrl-C to a whole group, Slurm and `pkill` send SIGTERM. A process of the pool that dies with the queue's
lock in its hand would let the program wait for ever, at the next operator or at its own end. So they leave both signals to
their parent, from their first moment on, and at its end it kills them without asking for the lock.
"""
import signal
from multiprocessing import pool as pools

SIGNALS = {signal.SIGINT, signal.SIGTERM}


def guard(jittor_utils):
    """Makes the pool that Jittor will start so. jittor_utils: the module, before the first operator is compiled."""
    jittor_utils.Pool = blocked(jittor_utils.Pool)
    jittor_utils.pool_initializer = ignoring_signals(jittor_utils.pool_initializer)
    jittor_utils.pool_cleanup = lambda: end(jittor_utils)


def blocked(pool):
    """A maker of pools in whose processes, and in the thread that starts others in the place of dead ones, the signals wait."""
    def make(*args, **kwargs):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            return pool(*args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return make if hasattr(signal, "pthread_sigmask") else pool


def ignoring_signals(initialise):
    """What each process of the pool does first, and that it leaves Ctrl-C and SIGTERM to its parent."""
    def start():
        initialise()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    return start


def end(jittor_utils):
    """Ends the pool: Pool.terminate() would first take the lock, and then send a signal that is ignored."""
    pool = jittor_utils.p
    pool._worker_handler._state = pools.TERMINATE            # no process is started in a dead one's place any more
    pool._change_notifier.put(None)                          # which it hears now, and not when the next one dies
    pool._worker_handler.join()
    pool._terminate.cancel()                                 # multiprocessing's own end of it, which waits
    for process in pool._pool:
        process.kill()
    for process in pool._pool:
        process.join()
    del jittor_utils.p
