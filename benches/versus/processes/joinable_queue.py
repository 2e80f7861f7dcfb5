# A JoinableQueue: another process takes the items and reports each as done; the parent joins at the end.
import multiprocessing
import time


def work(q):
    while True:
        q.get()
        q.task_done()


def rate(name, item, n):
    q = multiprocessing.JoinableQueue()
    p = multiprocessing.Process(target=work, args=[q], daemon=True)
    p.start()
    q.put(item)
    q.join()
    start = time.perf_counter()
    for i in range(n):
        q.put(item)
    q.join()
    seconds = time.perf_counter() - start
    p.terminate()
    p.join()
    print(name, q.empty())
    print("metric", name, "%.0f" % (n / seconds), "1/s")


if __name__ == "__main__":
    rate("integers", 7, 50000)
    rate("strings_1k", "x" * 1024, 50000)
    rate("strings_64k", "x" * 65536, 5000)
