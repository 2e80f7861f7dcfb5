# 10,000 threads that sleep at once, each for the same time: what starting, keeping and waking them costs.
import time
from threading import Lock, Thread

awake = 0
lock = Lock()


def sleeper(seconds):
    global awake
    time.sleep(seconds)
    with lock:
        awake += 1


N = 10000
NAP = 3.0

start = time.perf_counter()
threads = list()
for i in range(N):
    t = Thread(target=sleeper, args=[NAP])
    t.start()
    threads.append(t)
started = time.perf_counter() - start
for t in threads:
    t.join()
beyond_the_nap = time.perf_counter() - start - NAP

print(awake)
print("metric", "start_all", "%.4f" % started, "s")
print("metric", "beyond_the_nap", "%.4f" % beyond_the_nap, "s")
