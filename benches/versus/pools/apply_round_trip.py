# A task to one of two processes and its result, one after the other.
import time
from multiprocessing import Pool


def task(i):
    return i + 1


if __name__ == "__main__":
    N = 3000
    total = 0
    with Pool(2) as pool:
        pool.map(task, range(100), 1)
        start = time.perf_counter()
        for i in range(N):
            total += pool.apply(task, (i,))
        seconds = time.perf_counter() - start

    print(total)
    print("metric", "round_trip", "%.2f" % (seconds / N * 1e6), "us")
