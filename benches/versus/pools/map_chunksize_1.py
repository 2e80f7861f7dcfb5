# Small tasks one by one to two processes, and their results.
import time
from multiprocessing import Pool


def task(i):
    return i + 1


if __name__ == "__main__":
    N = 10000
    with Pool(2) as pool:
        pool.map(task, range(100), 1)
        start = time.perf_counter()
        results = pool.map(task, range(N), 1)
        seconds = time.perf_counter() - start

    print(sum(results))
    print("metric", "tasks", "%.0f" % (N / seconds), "1/s")
