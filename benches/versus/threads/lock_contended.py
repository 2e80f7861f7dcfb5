# Four threads, one counter, one lock.
import time
from threading import Lock, Thread

n = 0
lock = Lock()


def add(rounds):
    global n
    for i in range(rounds):
        lock.acquire()
        n += 1
        lock.release()


N = 100000
threads = list()
for i in range(4):
    threads.append(Thread(target=add, args=[N]))

start = time.perf_counter()
for t in threads:
    t.start()
for t in threads:
    t.join()
seconds = time.perf_counter() - start

print(n)
print("metric", "rounds", "%.0f" % (4 * N / seconds), "1/s")
