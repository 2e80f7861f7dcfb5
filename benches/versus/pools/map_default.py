# Small tasks to two processes in the chunks that map makes by itself: the calls are nearly all that it costs.
import time
from multiprocessing import Pool


def task(i):
    return i + 1


if __name__ == "__main__":
    N = 200000
    with Pool(2) as pool:
        pool.map(task, range(100))
        start = time.perf_counter()
        results = pool.map(task, range(N))
        seconds = time.perf_counter() - start

    print(sum(results))
    print("metric", "tasks", "%.0f" % (N / seconds), "1/s")
