"""The ways to send; each is read back whole."""
import threading

import wire
from check import check, equal, eventually
from messages import Receipts, large_body, message, verify


def sync(clients):
    """The topic does not exist before: the first send creates it from TBW102."""
    topic = clients.unique('sync')
    producer = clients.producer()
    told = Receipts()
    for i in range(200):
        told.add(i, producer.send_sync(message(topic, 'tag-%d' % (i % 3), i)))
    read = clients.read_topic(topic, 200)
    told.check_against(read)
    for one in read:
        verify(one, topic, 'tag-%d' % (one.number % 3))
    equal(4, len({one.queue_id for one in read}), 'queues in use')
    return len(read)


def send_orderly(clients):
    """A number chooses the queue; the order within it is the order of the calls."""
    topic = clients.unique('to-queue')
    clients.create_topic(topic, 4)
    producer = clients.producer()
    told = Receipts()
    for i in range(60):
        result = producer.send_orderly(message(topic, None, i), i % 3)
        told.add(i, result)
        equal(i // 3, result.offset, 'queue offset of %d' % i)
    read = clients.read_topic(topic, 60)
    told.check_against(read)
    for one in read:
        verify(one, topic, None)
        equal(one.number // 3, one.offset, 'queue offset of %d' % one.number)
    for queue in {one.queue_id for one in read}:
        equal(1, len({one.number % 3 for one in read if one.queue_id == queue}), 'senders of queue %d' % queue)
    return len(read)


def send_async(clients):
    """At most 32 in flight; the wrapper has no bound of its own."""
    count = 300
    topic = clients.unique('async')
    producer = clients.producer()
    told, problems = Receipts(), []
    in_flight = threading.Semaphore(32)
    answered = threading.Semaphore(0)

    def send(number):
        def done(result=None, problem=None):
            try:
                if problem is not None:
                    raise problem
                told.add(number, result)
            except Exception as found:  # told at the end
                problems.append(found)
            in_flight.release()
            answered.release()
        in_flight.acquire()
        producer.send_async(message(topic, 'async', number), done, lambda problem: done(problem=problem))

    # The topic is there before, for this client's first sends do not wait for a route.
    told.add(0, producer.send_sync(message(topic, 'async', 0)))
    for i in range(1, count):
        send(i)
    for i in range(1, count):
        check(answered.acquire(timeout=30), 'an answer is missing after %d' % i)
    check(not problems, '%d sends failed, one with %r' % (len(problems), problems[:1]))
    read = clients.read_topic(topic, count)
    told.check_against(read)
    for one in read:
        verify(one, topic, 'async')
    return len(read)


def oneway(clients):
    topic = clients.unique('oneway')
    producer = clients.producer()
    # One-way sends cannot report that the topic is still being created.
    producer.send_sync(message(topic, 'oneway', 0))
    for i in range(1, 200):
        producer.send_oneway(message(topic, 'oneway', i))
    read = clients.read_topic(topic, 200)
    equal(set(range(200)), {one.number for one in read}, 'messages')
    for one in read:
        verify(one, topic, 'oneway')
    return len(read)


def batch_as_one(clients):
    """Each batch becomes one message: the core writes "batch":"1" into the header, which Java reads as false."""
    topic = clients.unique('batch')
    producer = clients.producer()
    for size in (1, 2, 10, 50):
        result = producer.send_batch([message(topic, 'batch', number) for number in range(size)])
        equal(0, int(result.status), 'status of the batch of %d' % size)
    eventually(lambda: wire.stored(clients.namesrv, topic) >= 4,
               lambda: '4 messages, there are %d' % wire.stored(clients.namesrv, topic))
    equal(4, wire.stored(clients.namesrv, topic), 'messages stored for 4 batches')
    return 0


def compressed(clients):
    """Bodies over 4 KiB are compressed by the client; the consumer sees them whole."""
    topic = clients.unique('compressed')
    producer = clients.producer()
    sizes = (4095, 4096, 4097, 5000, 10_000, 65_536, 100_001, 1_000_000)
    # The client's own limit is 128 KiB.
    producer.set_max_message_size(4 * 1024 * 1024)
    told = Receipts()
    for i in range(24):
        told.add(i, producer.send_sync(message(topic, 'big', i, large_body(i, sizes[i % 8]))))
    read = clients.read_topic(topic, 24)
    told.check_against(read)
    for one in read:
        verify(one, topic, 'big', large_body(one.number, sizes[one.number % 8]))
    return len(read)


def too_large(clients):
    """A body over the broker's limit is refused, and the connection goes on."""
    topic = clients.unique('too-large')
    producer = clients.producer()
    producer.set_max_message_size(8 * 1024 * 1024)
    producer.set_compress_level(0)
    told = Receipts()
    told.add(0, producer.send_sync(message(topic, None, 0)))
    refused = None
    try:
        producer.send_sync(message(topic, None, 1, large_body(1, 5 * 1024 * 1024)))
    except Exception as why:  # the wrapper has one kind for all
        refused = str(why)
    check(refused is not None, '5 MiB were accepted')
    told.add(2, producer.send_sync(message(topic, None, 2)))
    read = clients.read_topic(topic, 2)
    told.check_against(read)
    for one in read:
        verify(one, topic, None)
    return len(read)
