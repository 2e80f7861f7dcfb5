# Four clients, each with a thread that answers it, over loopback sockets: a message there, a message back.
import socket
import time
from threading import Thread


def answer(connection):
    while True:
        data = connection.recv(64)
        if len(data) == 0:
            connection.close()
            return
        connection.sendall(data)


def serve(listener, clients):
    for i in range(clients):
        connection = listener.accept()[0]
        Thread(target=answer, args=[connection]).start()


def ask(port, n):
    connection = socket.socket()
    connection.connect(("127.0.0.1", port))
    for i in range(n):
        connection.sendall("hello".encode())
        connection.recv(64)
    connection.close()


CLIENTS = 4
N = 1500
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(CLIENTS)
port = listener.getsockname()[1]
threads = list()
threads.append(Thread(target=serve, args=[listener, CLIENTS]))
for i in range(CLIENTS):
    threads.append(Thread(target=ask, args=[port, N]))

start = time.perf_counter()
for t in threads:
    t.start()
for t in threads:
    t.join()
seconds = time.perf_counter() - start
listener.close()

print("metric", "exchanges", "%.0f" % (CLIENTS * N / seconds), "1/s")
