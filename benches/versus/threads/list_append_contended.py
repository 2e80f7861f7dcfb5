# Four threads append to one list.
import time
from threading import Thread


def add(xs, n):
    for i in range(n):
        xs.append(i)


N = 250000
xs = list()
threads = list()
for i in range(4):
    threads.append(Thread(target=add, args=[xs, N]))

start = time.perf_counter()
for t in threads:
    t.start()
for t in threads:
    t.join()
seconds = time.perf_counter() - start

print(len(xs))
print("metric", "appends", "%.0f" % (4 * N / seconds), "1/s")
