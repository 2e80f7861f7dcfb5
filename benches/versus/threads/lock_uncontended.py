# A lock that nobody else wants. Two calls of a method that does nothing say how much of it is the calling.
import time
from threading import Lock


def pairs(lock, n):
    for i in range(n):
        lock.acquire()
        lock.release()


def with_blocks(lock, n):
    for i in range(n):
        with lock:
            pass


def two_calls(lock, n):
    for i in range(n):
        lock.locked()
        lock.locked()


def nanoseconds(f, lock, n):
    start = time.perf_counter()
    f(lock, n)
    return (time.perf_counter() - start) / n * 1000000000


N = 300000
lock = Lock()
print("metric", "acquire_release", "%.1f" % nanoseconds(pairs, lock, N), "ns")
print("metric", "with_block", "%.1f" % nanoseconds(with_blocks, lock, N), "ns")
print("metric", "two_calls_of_locked", "%.1f" % nanoseconds(two_calls, lock, N), "ns")
