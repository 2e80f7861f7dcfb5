# Items from one process to another through a SimpleQueue: small numbers, strings of 1 and of 64 KiB.
import multiprocessing
import time


def produce(q, item, n):
    for i in range(n):
        q.put(item)


def rate(name, item, n):
    q = multiprocessing.SimpleQueue()
    p = multiprocessing.Process(target=produce, args=[q, item, n + 1])
    p.start()
    last = q.get()
    start = time.perf_counter()
    for i in range(n):
        last = q.get()
    seconds = time.perf_counter() - start
    p.join()
    print(name, last == item)
    print("metric", name, "%.0f" % (n / seconds), "1/s")


if __name__ == "__main__":
    rate("integers", 7, 100000)
    rate("strings_1k", "x" * 1024, 50000)
    rate("strings_64k", "x" * 65536, 5000)
