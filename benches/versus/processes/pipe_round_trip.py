# A request and its reply through a Pipe between two processes.
import multiprocessing
import time


def answer(c, n):
    for i in range(n):
        c.send(c.recv() + 1)


if __name__ == "__main__":
    N = 5000
    here, there = multiprocessing.Pipe()
    p = multiprocessing.Process(target=answer, args=[there, N + 1])
    p.start()
    here.send(0)
    value = here.recv()
    start = time.perf_counter()
    for i in range(N):
        here.send(value)
        value = here.recv()
    seconds = time.perf_counter() - start
    p.join()

    print(value)
    print("metric", "round_trip", "%.3f" % (seconds / N * 1000000), "us")
