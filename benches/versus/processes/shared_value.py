# A Value: added to under its lock by one process, then by two at once. CPython has no `add`: there it is
# the same `with` again.
import time
from multiprocessing import Process, Value


def work(v, n):
    for i in range(n):
        with v.get_lock():
            v.value += 1


def add(v, n):
    for i in range(n):
        with v.get_lock():
            v.value += 1


def rate(f, v, n):
    start = time.perf_counter()
    f(v, n)
    return "%.0f" % (n / (time.perf_counter() - start))


if __name__ == "__main__":
    N = 100000
    v = Value("i", 0)
    print("metric", "with_get_lock", rate(work, v, N), "1/s")
    print("metric", "add", rate(add, v, N), "1/s")
    l = [Process(target=work, args=[v, N // 4]) for i in range(2)]
    start = time.perf_counter()
    for p in l:
        p.start()
    for p in l:
        p.join()
    seconds = time.perf_counter() - start
    print("metric", "two_processes", "%.0f" % (N / 2 / seconds), "1/s")
    print(v.value)
