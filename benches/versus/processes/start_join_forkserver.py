# Processes that do nothing, one after the other, by the start method forkserver: the first five, of which the first one
# brings the server along, and then more.
import multiprocessing
import time


def nothing():
    pass


N = 40


def rate(ctx, n):
    start = time.perf_counter()
    for i in range(n):
        p = ctx.Process(target=nothing)
        p.start()
        p.join()
    return "%.0f" % (n / (time.perf_counter() - start))


if __name__ == "__main__":
    ctx = multiprocessing.get_context("forkserver")
    print("metric", "first_five", rate(ctx, 5), "1/s")
    print("metric", "processes", rate(ctx, N), "1/s")
