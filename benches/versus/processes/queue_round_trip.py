import multiprocessing
import time


def answer(requests, replies, n):
    for i in range(n):
        replies.put(requests.get() + 1)


if __name__ == "__main__":
    N = 5000
    requests = multiprocessing.Queue()
    replies = multiprocessing.Queue()
    p = multiprocessing.Process(target=answer, args=[requests, replies, N + 1])
    p.start()
    requests.put(0)
    value = replies.get()
    start = time.perf_counter()
    for i in range(N):
        requests.put(value)
        value = replies.get()
    seconds = time.perf_counter() - start
    p.join()

    print(value)
    print("metric", "round_trip", "%.3f" % (seconds / N * 1000000), "us")
