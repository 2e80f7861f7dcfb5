# Two threads that compute, beside the same work in turn: what the lock costs, or what its absence gains.
import time
from threading import Thread


def count(n):
    i = 0
    while i < n:
        i += 1


N = 2000000

start = time.perf_counter()
count(N)
count(N)
in_turn = time.perf_counter() - start

start = time.perf_counter()
threads = [Thread(target=count, args=[N]), Thread(target=count, args=[N])]
for t in threads:
    t.start()
for t in threads:
    t.join()
two_threads = time.perf_counter() - start

print("metric", "in_turn", "%.4f" % in_turn, "s")
print("metric", "two_threads", "%.4f" % two_threads, "s")
print("metric", "gain", "%.3f" % (in_turn / two_threads), "x")
