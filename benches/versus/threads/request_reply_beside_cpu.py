# How long after a request is due its reply is there, while another thread computes.
import queue
import time
from threading import Thread

busy = True


def compute():
    x = 0
    while busy:
        for i in range(1000):
            x += i


def serve(requests, replies):
    while True:
        request = requests.get()
        if request is None:
            return
        replies.put(request)


N = 40
requests = queue.Queue()
replies = queue.Queue()
server = Thread(target=serve, args=[requests, replies])
computer = Thread(target=compute)
server.start()
computer.start()

latencies = list()
for i in range(N):
    due = time.perf_counter() + 0.001
    time.sleep(0.001)
    requests.put(i)
    replies.get()
    latencies.append((time.perf_counter() - due) * 1000)

busy = False
requests.put(None)
server.join()
computer.join()

latencies.sort()
print("metric", "median", "%.4f" % latencies[N // 2], "ms")
print("metric", "worst", "%.4f" % latencies[N - 1], "ms")
