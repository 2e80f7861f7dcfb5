# Two threads add to a module-level variable without a lock. How much gets lost is not compared.
import time
from threading import Thread

n = 0


def add(rounds):
    global n
    for i in range(rounds):
        n += 1


N = 500000
threads = [Thread(target=add, args=[N]), Thread(target=add, args=[N])]

start = time.perf_counter()
for t in threads:
    t.start()
for t in threads:
    t.join()
seconds = time.perf_counter() - start

print(0 < n <= 2 * N)
print("metric", "additions", "%.0f" % (2 * N / seconds), "1/s")
