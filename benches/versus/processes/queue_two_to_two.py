import multiprocessing
import time


def produce(q, n):
    for i in range(n):
        q.put(1)


def consume(q, results):
    sum = 0
    while True:
        item = q.get()
        if item is None:
            break
        sum += item
    results.put(sum)


if __name__ == "__main__":
    N = 60000
    q = multiprocessing.Queue()
    results = multiprocessing.Queue()
    consumers = [multiprocessing.Process(target=consume, args=[q, results]) for i in range(2)]
    producers = [multiprocessing.Process(target=produce, args=[q, N]) for i in range(2)]

    start = time.perf_counter()
    for p in consumers:
        p.start()
    for p in producers:
        p.start()
    for p in producers:
        p.join()
    for p in consumers:
        q.put(None)
    sum = results.get() + results.get()
    seconds = time.perf_counter() - start
    for p in consumers:
        p.join()

    print(sum)
    print("metric", "items", "%.0f" % (2 * N / seconds), "1/s")
