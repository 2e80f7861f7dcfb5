# A new pool of two processes and its first result, one pool after the other.
import time
from multiprocessing import Pool


def task(i):
    return i + 1


if __name__ == "__main__":
    N = 30
    total = 0
    seconds = 0
    for i in range(N):
        start = time.perf_counter()
        pool = Pool(2)
        total += pool.apply(task, (i,))
        seconds += time.perf_counter() - start
        pool.terminate()
        pool.join()

    print(total)
    print("metric", "first_result", "%.3f" % (seconds / N * 1e3), "ms")
