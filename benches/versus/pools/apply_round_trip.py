# A task to one of two processes and its result, one after the other.
import time
from multiprocessing import Pool


def task(i):
    return i + 1


def run(pool, n):
    total = 0
    for i in range(n):
        total += pool.apply(task, (i,))
    return total


if __name__ == "__main__":
    N = 3000
    with Pool(2) as pool:
        pool.map(task, range(100), 1)
        start = time.perf_counter()
        total = run(pool, N)
        seconds = time.perf_counter() - start

    print(total)
    print("metric", "round_trip", "%.2f" % (seconds / N * 1e6), "us")
