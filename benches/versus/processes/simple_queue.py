import multiprocessing
import time


def produce(q, n):
    for i in range(n):
        q.put(i)


if __name__ == "__main__":
    N = 100000
    q = multiprocessing.SimpleQueue()
    p = multiprocessing.Process(target=produce, args=[q, N + 1])
    p.start()
    sum = q.get()
    start = time.perf_counter()
    for i in range(N):
        sum += q.get()
    seconds = time.perf_counter() - start
    p.join()

    print(sum)
    print("metric", "items", "%.0f" % (N / seconds), "1/s")
