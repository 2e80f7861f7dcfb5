# Eight threads that mostly wait and compute a little in between, beside the same in turn.
import time
from threading import Thread


def fetch(n):
    for i in range(n):
        time.sleep(0.005)
        x = 0
        for k in range(1000):
            x += k


THREADS = 8
N = 10

start = time.perf_counter()
for i in range(THREADS):
    fetch(N)
in_turn = time.perf_counter() - start

start = time.perf_counter()
threads = list()
for i in range(THREADS):
    t = Thread(target=fetch, args=[N])
    t.start()
    threads.append(t)
for t in threads:
    t.join()
at_once = time.perf_counter() - start

print("metric", "in_turn", "%.4f" % in_turn, "s")
print("metric", "eight_threads", "%.4f" % at_once, "s")
print("metric", "gain", "%.3f" % (in_turn / at_once), "x")
