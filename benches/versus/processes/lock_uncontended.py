# What a lock between processes costs that nobody else wants: a pair of acquire and release, and a with block.
import time
from multiprocessing import Lock, Semaphore


def pairs(lock, n):
    for i in range(n):
        lock.acquire()
        lock.release()


def blocks(lock, n):
    for i in range(n):
        with lock:
            pass


def calls(semaphore, n):
    for i in range(n):
        semaphore.get_value()
        semaphore.get_value()


def cost(name, f, x):
    N = 200000
    f(x, 1000)
    start = time.perf_counter()
    f(x, N)
    seconds = time.perf_counter() - start
    print("metric", name, "%.1f" % (seconds / N * 1000000000), "ns")


if __name__ == "__main__":
    cost("acquire_release", pairs, Lock())
    cost("with", blocks, Lock())
    cost("two_calls_of_get_value", calls, Semaphore())
