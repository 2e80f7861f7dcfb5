import multiprocessing
import time


def work(q):
    while True:
        q.get()
        q.task_done()


if __name__ == "__main__":
    N = 50000
    q = multiprocessing.JoinableQueue()
    p = multiprocessing.Process(target=work, args=[q], daemon=True)
    p.start()
    q.put(0)
    q.join()
    start = time.perf_counter()
    for i in range(N):
        q.put(i)
    q.join()
    seconds = time.perf_counter() - start
    p.terminate()
    p.join()

    print(q.empty())
    print("metric", "items", "%.0f" % (N / seconds), "1/s")
