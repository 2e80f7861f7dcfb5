# Threads that do nothing, one after the other: start, join, the next one.
import time
from threading import Thread


def nothing():
    pass


N = 3000

start = time.perf_counter()
for i in range(N):
    t = Thread(target=nothing)
    t.start()
    t.join()
seconds = time.perf_counter() - start

print("metric", "threads", "%.0f" % (N / seconds), "1/s")
