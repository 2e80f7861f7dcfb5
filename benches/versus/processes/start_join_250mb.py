# Processes that do nothing, while the parent has 250 MB of data.
import multiprocessing
import time


def nothing():
    pass


N = 60
data = bytearray(250 * 1024 * 1024)
for i in range(0, len(data), 4096):
    data[i] = 1

start = time.perf_counter()
for i in range(N):
    p = multiprocessing.Process(target=nothing)
    p.start()
    p.join()
seconds = time.perf_counter() - start
print("metric", "processes", "%.0f" % (N / seconds), "1/s")
