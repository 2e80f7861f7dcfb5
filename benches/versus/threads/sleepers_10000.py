# 10,000 threads asleep at once: what it takes to start them, and the memory that they keep.
import time
from threading import Thread


def sleeper():
    time.sleep(3600)


N = 10000

start = time.perf_counter()
threads = list()
for i in range(N):
    t = Thread(target=sleeper, daemon=True)
    t.start()
    threads.append(t)
seconds = time.perf_counter() - start

alive = 0
for t in threads:
    if t.is_alive():
        alive += 1
print(alive)
print("metric", "start_all", "%.4f" % seconds, "s")
