# Small tasks submitted one by one to two processes of an executor, and then their results.
import time
from concurrent.futures import ProcessPoolExecutor


def task(i):
    return i + 1


def run(pool, n):
    total = 0
    results = list()
    for i in range(n):
        results.append(pool.submit(task, i))
    for result in results:
        total += result.result()
    return total


if __name__ == "__main__":
    N = 5000
    with ProcessPoolExecutor(2) as pool:
        run(pool, 100)
        start = time.perf_counter()
        total = run(pool, N)
        seconds = time.perf_counter() - start

    print(total)
    print("metric", "tasks", "%.0f" % (N / seconds), "1/s")
