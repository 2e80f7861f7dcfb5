# A request through one queue, its reply through another, one at a time.
import queue
import time
from threading import Thread


def serve(requests, replies):
    while True:
        request = requests.get()
        if request is None:
            return
        replies.put(request + 1)


N = 10000
requests = queue.Queue()
replies = queue.Queue()
server = Thread(target=serve, args=[requests, replies])
server.start()

start = time.perf_counter()
total = 0
for i in range(N):
    requests.put(i)
    total += replies.get()
seconds = time.perf_counter() - start

requests.put(None)
server.join()
print(total)
print("metric", "round_trip", "%.3f" % (seconds / N * 1000000), "us")
