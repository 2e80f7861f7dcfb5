# Tasks of some ten microseconds in a pool of two processes, beside two processes that have half of the items each
# and loop over them: 1 is as fast as workers can be to whom everything that a pool does costs nothing.
import time
from multiprocessing import Barrier, Pool, Process, Queue

N = 20000


def task(n):
    x = 1
    for i in range(n):
        x = (x * 7 + i) % 1009
    return x


def half(n, barrier, times):
    barrier.wait()
    start = time.perf_counter()
    results = []
    for i in range(N // 2):
        results.append(task(n))
    end = time.perf_counter()
    times.put([start, end])


def two_loops(n):
    barrier = Barrier(2)
    times = Queue()
    processes = [Process(target=half, args=(n, barrier, times)) for i in range(2)]
    for p in processes:
        p.start()
    a = times.get()
    b = times.get()
    for p in processes:
        p.join()
    return max(a[1], b[1]) - min(a[0], b[0])


if __name__ == "__main__":
    start = time.perf_counter()
    for i in range(200):
        task(100)
    # Loops of so many rounds take ten microseconds here.
    rounds = max(1, int(200 * 100 * 0.00001 / (time.perf_counter() - start)))
    items = [rounds] * N
    shares = []
    results = []
    with Pool(2) as pool:
        pool.map(task, items[:100])
        for round in range(5):
            perfect = two_loops(rounds)
            start = time.perf_counter()
            results = pool.map(task, items)
            shares.append(perfect / (time.perf_counter() - start))

    shares.sort()
    print(len(results))
    print("metric", "of_two_perfect_workers", "%.3f" % shares[2], "x")
