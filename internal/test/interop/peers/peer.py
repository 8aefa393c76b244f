"""Lessons 1 to 6, 8 and 9 in Python, each as its program there would do it.

    AMQP_URL=amqp://... python3 peer.py ROLE [ARGUMENT...]

ROLE is a program's name in this repository, and the arguments are that
program's. This file shares nothing with the Go programs, so that the tests
notice a change on one side.
"""

import os
import sys
import time
import uuid

import pika

QUORUM = {"x-queue-type": "quorum"}


def declare_queue(channel, name):
    channel.queue_declare(name, durable=True, arguments=QUORUM)


def send(channel):
    declare_queue(channel, "hello")
    channel.basic_publish("", "hello", b"Hello World!")
    print(" [x] Sent Hello World!")


def receive(channel):
    declare_queue(channel, "hello")

    def on_message(channel, method, properties, body):
        print(f" [x] Received {body.decode()}")

    channel.basic_consume("hello", on_message, auto_ack=True)
    print(" [*] Waiting for messages. To exit press CTRL+C")
    channel.start_consuming()


def new_task(channel, *words):
    task = " ".join(words) or "Hello World!"
    declare_queue(channel, "task_queue")
    persistent = pika.BasicProperties(delivery_mode=2)
    channel.basic_publish("", "task_queue", task.encode(), persistent)
    print(f" [x] Sent {task}")


def worker(channel, flag="-unit", unit="1s"):
    declare_queue(channel, "task_queue")

    def on_task(channel, method, properties, body):
        if properties.delivery_mode != 2:
            raise ValueError("the task is not persistent")
        print(f" [x] Received {body.decode()}")
        time.sleep(body.count(b".") * float(unit.rstrip("s")))
        print(" [x] Done")
        channel.basic_ack(method.delivery_tag)

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume("task_queue", on_task)
    print(" [*] Waiting for messages. To exit press CTRL+C")
    channel.start_consuming()


def emit(channel, exchange, kind, key, words):
    line = " ".join(words) or "Hello World!"
    channel.exchange_declare(exchange, kind)
    channel.basic_publish(exchange, key, line.encode())
    print(f" [x] Sent {key}:{line}" if key else f" [x] Sent {line}")


def receive_emitted(channel, exchange, kind, keys):
    channel.exchange_declare(exchange, kind)
    queue = channel.queue_declare("", exclusive=True).method.queue
    for key in keys:
        channel.queue_bind(queue, exchange, key)

    def on_line(channel, method, properties, body):
        key = "" if kind == "fanout" else method.routing_key + ":"
        print(f" [x] {key}{body.decode()}")

    channel.basic_consume(queue, on_line, auto_ack=True)
    print(" [*] Waiting for logs. To exit press CTRL+C")
    channel.start_consuming()


def emit_log(channel, *words):
    emit(channel, "logs", "fanout", "", words)


def receive_logs(channel):
    receive_emitted(channel, "logs", "fanout", [""])


def emit_log_direct(channel, severity="info", *words):
    emit(channel, "direct_logs", "direct", severity, words)


def receive_logs_direct(channel, *severities):
    receive_emitted(channel, "direct_logs", "direct", severities)


def emit_log_topic(channel, topic="anonymous.info", *words):
    emit(channel, "topic_logs", "topic", topic, words)


def receive_logs_topic(channel, *binding_keys):
    receive_emitted(channel, "topic_logs", "topic", binding_keys)


def rpc_server(channel):
    declare_queue(channel, "rpc_queue")

    def on_request(channel, method, properties, body):
        n = int(body)
        print(f" [.] fib({n})")
        a, b = 0, 1
        for _ in range(n):
            a, b = b, a + b
        answer = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, str(a).encode(), answer)
        channel.basic_ack(method.delivery_tag)

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume("rpc_queue", on_request)
    print(" [x] Awaiting RPC requests")
    channel.start_consuming()


def rpc_client(channel, *bodies):
    """Makes all calls at once and prints the answers in the order of the calls.

    Like the tutorial's client, it does not declare the queue of requests.
    """
    replies = channel.queue_declare("", exclusive=True).method.queue
    answers = {}

    def on_answer(channel, method, properties, body):
        answers[properties.correlation_id] = body

    channel.basic_consume(replies, on_answer, auto_ack=True)
    calls = []
    for body in bodies:
        calls.append(str(uuid.uuid4()))
        request = pika.BasicProperties(reply_to=replies, correlation_id=calls[-1])
        print(f" [x] Requesting fib({body})")
        channel.basic_publish("", "rpc_queue", body.encode(), request)
    for call in calls:
        while call not in answers:
            channel.connection.process_data_events(time_limit=None)
        print(f" [.] Got {answers[call].decode()}")


def pipeline_submit(channel, *numbers):
    declare_queue(channel, "pipeline_numbers")
    for n in numbers or ("30",):
        properties = pika.BasicProperties(delivery_mode=2, message_id=str(uuid.uuid4()))
        channel.basic_publish("", "pipeline_numbers", n.encode(), properties)
        print(f" [x] Submitted {n}")


def pipeline_stage(channel):
    declare_queue(channel, "pipeline_numbers")
    declare_queue(channel, "pipeline_results")

    def on_number(channel, method, properties, body):
        if properties.delivery_mode != 2:
            raise ValueError("the number is not persistent")
        n = int(body)
        if n > 10000:
            headers, result = {"error": "too large for Python"}, body
        else:
            print(f" [.] fib({n})")
            a, b = 0, 1
            for _ in range(n):
                a, b = b, a + b
            headers, result = {"n": n}, str(a).encode()
        output = pika.BasicProperties(delivery_mode=2, message_id=properties.message_id, headers=headers)
        channel.basic_publish("", "pipeline_results", result, output, mandatory=True)
        channel.basic_ack(method.delivery_tag)

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume("pipeline_numbers", on_number)
    print(" [*] Waiting for messages. To exit press CTRL+C")
    channel.start_consuming()


def pipeline_collect(channel):
    declare_queue(channel, "pipeline_results")
    seen = set()

    def on_result(channel, method, properties, body):
        if properties.delivery_mode != 2:
            raise ValueError("the result is not persistent")
        headers = properties.headers
        if properties.message_id in seen:
            print(f" [!] {body.decode()} again, ignored")
        elif "error" in headers:
            print(f' [!] no result for "{body.decode()}": {headers["error"]}')
        else:
            print(f" [x] fib({headers['n']}) = {body.decode()}")
        seen.add(properties.message_id)
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume("pipeline_results", on_result)
    print(" [*] Waiting for messages. To exit press CTRL+C")
    channel.start_consuming()


def retry_task(channel, *words):
    task = " ".join(words)
    declare_queue(channel, "retry_tasks")
    persistent = pika.BasicProperties(delivery_mode=2)
    channel.basic_publish("", "retry_tasks", task.encode(), persistent)
    print(f" [x] Sent {task}")


def read_parked(channel):
    declare_queue(channel, "retry_parked")

    def on_parked(channel, method, properties, body):
        if properties.delivery_mode != 2:
            raise ValueError("the task is not persistent")
        headers = properties.headers
        print(f" [x] Parked {body.decode()} after {headers['attempts']} attempts: {headers['error']}")
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume("retry_parked", on_parked)
    print(" [*] Waiting for messages. To exit press CTRL+C")
    channel.start_consuming()


ROLES = (
    send, receive, new_task, worker, emit_log, receive_logs, emit_log_direct,
    receive_logs_direct, emit_log_topic, receive_logs_topic, rpc_server, rpc_client,
    pipeline_submit, pipeline_stage, pipeline_collect,
    retry_task, read_parked,
)

role = {function.__name__: function for function in ROLES}[sys.argv[1]]
with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])) as connection:
    channel = connection.channel()
    channel.confirm_delivery()  # from here on, basic_publish waits for the confirm
    role(channel, *sys.argv[2:])
