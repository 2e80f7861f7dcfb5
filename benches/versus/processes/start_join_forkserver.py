# Processes that do nothing, one after the other, by the start method forkserver.
import multiprocessing
import time


def nothing():
    pass


N = 40

if __name__ == "__main__":
    ctx = multiprocessing.get_context("forkserver")
    p = ctx.Process(target=nothing)
    p.start()
    p.join()
    start = time.perf_counter()
    for i in range(N):
        p = ctx.Process(target=nothing)
        p.start()
        p.join()
    seconds = time.perf_counter() - start
    print("metric", "processes", "%.0f" % (N / seconds), "1/s")
