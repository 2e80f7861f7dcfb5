# Small tasks handed in one by one with apply_async, and then their results.
import time
from multiprocessing import Pool


def task(i):
    return i + 1


if __name__ == "__main__":
    N = 10000
    total = 0
    with Pool(2) as pool:
        pool.map(task, range(100), 1)
        start = time.perf_counter()
        results = list()
        for i in range(N):
            results.append(pool.apply_async(task, (i,)))
        for result in results:
            total += result.get()
        seconds = time.perf_counter() - start

    print(total)
    print("metric", "tasks", "%.0f" % (N / seconds), "1/s")
