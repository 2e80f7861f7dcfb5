# A dict in a manager's process: items set and got one by one, by one process.
import multiprocessing
import time

if __name__ == "__main__":
    N = 10000
    manager = multiprocessing.Manager()
    d = manager.dict()
    d["warm"] = 0

    start = time.perf_counter()
    for i in range(N):
        d["key"] = i
    sets = N / (time.perf_counter() - start)

    sum = 0
    start = time.perf_counter()
    for i in range(N):
        sum += d["key"]
    gets = N / (time.perf_counter() - start)

    print(sum, len(d))
    print("metric", "sets", "%.0f" % sets, "1/s")
    print("metric", "gets", "%.0f" % gets, "1/s")
    manager.shutdown()
