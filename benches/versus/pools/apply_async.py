# Small tasks handed in one by one with apply_async, and then their results.
import time
from multiprocessing import Pool


def task(i):
    return i + 1


def run(pool, n):
    total = 0
    results = list()
    for i in range(n):
        results.append(pool.apply_async(task, (i,)))
    for result in results:
        total += result.get()
    return total


if __name__ == "__main__":
    N = 10000
    with Pool(2) as pool:
        run(pool, 100)
        start = time.perf_counter()
        total = run(pool, N)
        seconds = time.perf_counter() - start

    print(total)
    print("metric", "tasks", "%.0f" % (N / seconds), "1/s")
