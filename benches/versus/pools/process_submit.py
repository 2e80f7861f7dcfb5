# Small tasks submitted one by one to two processes of an executor, and then their results.
import time
from concurrent.futures import ProcessPoolExecutor


def task(i):
    return i + 1


if __name__ == "__main__":
    N = 5000
    total = 0
    with ProcessPoolExecutor(2) as pool:
        for n in pool.map(task, range(100)):
            pass
        start = time.perf_counter()
        futures = list()
        for i in range(N):
            futures.append(pool.submit(task, i))
        for f in futures:
            total += f.result()
        seconds = time.perf_counter() - start

    print(total)
    print("metric", "tasks", "%.0f" % (N / seconds), "1/s")
