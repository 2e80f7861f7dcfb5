# Small tasks to four workers, and their results.
import time
from concurrent.futures import ThreadPoolExecutor


def task(i):
    return i + 1


N = 10000
total = 0
start = time.perf_counter()
with ThreadPoolExecutor(4) as pool:
    futures = list()
    for i in range(N):
        futures.append(pool.submit(task, i))
    for f in futures:
        total += f.result()
seconds = time.perf_counter() - start

print(total)
print("metric", "tasks", "%.0f" % (N / seconds), "1/s")
