# Two processes meet at a barrier, again and again.
import time
from multiprocessing import Barrier, Process


def meet(barrier, n):
    for i in range(n):
        barrier.wait()


if __name__ == "__main__":
    N = 5000
    barrier = Barrier(2)
    p = Process(target=meet, args=[barrier, N + 1])
    p.start()
    barrier.wait()
    start = time.perf_counter()
    meet(barrier, N)
    seconds = time.perf_counter() - start
    p.join()

    print(barrier.n_waiting, barrier.broken)
    print("metric", "round", "%.3f" % (seconds / N * 1000000), "us")
