"""The work of testdata/client in Python, with pika's fastest connection.

    AMQP_URL=amqp://... python3 peer.py
"""

import os
import platform
import sys
import time

import pika

URL = pika.URLParameters(os.environ["AMQP_URL"])


def run(work):
    """Opens a connection and calls work(channel, done); prints what it took."""

    def on_channel(channel):
        channel.add_on_close_callback(on_channel_closed)
        work(channel, done)

    def on_open(connection):
        connection.channel(on_open_callback=on_channel)

    def on_channel_closed(channel, reason):
        if not figures:
            sys.exit(f"peer.py: {reason}")

    def on_closed(connection, reason):
        on_channel_closed(None, reason)
        connection.ioloop.stop()

    def done(start):
        end = now()
        figures.extend(b - a for a, b in zip(start, end))
        connection.close()

    figures = []
    connection = pika.SelectConnection(
        URL, on_open, on_open_error_callback=on_closed, on_close_callback=on_closed
    )
    connection.ioloop.start()
    print(*figures, flush=True)


def now():
    return time.perf_counter(), time.process_time()


def publish(queue, n, size, window):
    body = bytes(size)
    persistent = pika.BasicProperties(
        content_type="application/octet-stream", delivery_mode=2
    )

    def work(channel, done):
        start, published, confirmed = None, 0, 0

        def fill_window():
            nonlocal published
            while published < n and published - confirmed < window:
                channel.basic_publish("", queue, body, persistent, mandatory=True)
                published += 1

        def on_confirm(frame):
            nonlocal confirmed
            confirm = frame.method
            if not isinstance(confirm, pika.spec.Basic.Ack):
                sys.exit("peer.py: the broker refused a message")
            confirmed = confirm.delivery_tag  # and all before it: a queue confirms in order
            fill_window()
            if confirmed == n:
                done(start)

        def on_confirms(_):
            nonlocal start
            start = now()
            fill_window()

        channel.add_on_return_callback(lambda *_: sys.exit("peer.py: returned"))
        channel.confirm_delivery(on_confirm, on_confirms)

    run(work)


def consume(queue, n, prefetch, automatic):
    def work(channel, done):
        start, taken = None, 0

        def on_message(channel, method, properties, body):
            nonlocal taken
            if not automatic:
                channel.basic_ack(method.delivery_tag)
            taken += 1
            if taken == n:
                # After this answer, the broker has the last acknowledgement.
                channel.basic_qos(prefetch_count=prefetch, callback=lambda _: done(start))

        def on_qos(_):
            nonlocal start
            start = now()
            channel.basic_consume(queue, on_message, auto_ack=automatic)

        channel.basic_qos(prefetch_count=prefetch, callback=on_qos)

    run(work)


print(f"pika {pika.__version__}, Python {platform.python_version()}", flush=True)
for line in sys.stdin:
    role, queue, *args = line.split()
    if role == "publish":
        publish(queue, *map(int, args))
    else:
        consume(queue, int(args[0]), int(args[1]), args[2] == "automatic")
