import multiprocessing
import time


def produce(c, item, n):
    for i in range(n):
        c.send(item)


def rate(name, item, n):
    r, w = multiprocessing.Pipe(duplex=False)
    p = multiprocessing.Process(target=produce, args=[w, item, n + 1])
    p.start()
    last = r.recv()
    start = time.perf_counter()
    for i in range(n):
        last = r.recv()
    seconds = time.perf_counter() - start
    p.join()
    print(name, last == item)
    print("metric", name, "%.0f" % (n / seconds), "1/s")


if __name__ == "__main__":
    rate("integers", 7, 200000)
    rate("strings_1k", "x" * 1024, 100000)
    rate("strings_64k", "x" * 65536, 5000)
