# 500 threads wait for one event and wake up together: a crowd before the lock.
import time
from threading import Event, Thread

N = 500


def waiter(event, awake):
    event.wait()
    awake.append(1)


start = time.perf_counter()
total = 0
for k in range(5):
    event = Event()
    awake = list()
    threads = list()
    for i in range(N):
        t = Thread(target=waiter, args=[event, awake])
        t.start()
        threads.append(t)
    event.set()
    for t in threads:
        t.join()
    total += len(awake)
seconds = time.perf_counter() - start

print(total)
print("metric", "threads", "%.0f" % (total / seconds), "1/s")
