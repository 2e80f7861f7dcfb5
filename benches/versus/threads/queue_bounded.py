# The same as queue_one_to_one through a queue with room for 100: both sides have to wait.
import queue
import time
from threading import Thread


def produce(q, n):
    for i in range(n):
        q.put(i)


def consume(q, n):
    total = 0
    for i in range(n):
        total += q.get()
    print(total)


N = 100000
q = queue.Queue(100)
threads = [Thread(target=produce, args=[q, N]), Thread(target=consume, args=[q, N])]

start = time.perf_counter()
for t in threads:
    t.start()
for t in threads:
    t.join()
seconds = time.perf_counter() - start

print("metric", "items", "%.0f" % (N / seconds), "1/s")
