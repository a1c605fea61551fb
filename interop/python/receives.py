"""Push consumers that share, that get all, that filter, that go on; and the pull consumer."""
from rocketmq.client import PullConsumer
from rocketmq.ffi import MessageModel

from check import Failure, check, equal, eventually
from messages import Inbox, Receipts, copy, message, verify


def send(producer, topic, numbers):
    told = Receipts()
    for number in numbers:
        told.add(number, producer.send_sync(message(topic, 'push', number)))
    return told


def push_inbox(topic):
    return Inbox(lambda one: verify(one, topic, 'push'))


def push_clustering(clients):
    topic = clients.unique('clustering')
    clients.create_topic(topic, 4)
    producer = clients.producer()
    early = send(producer, topic, range(100))
    inbox = push_inbox(topic)
    clients.push_consumer(clients.unique('workers'), topic, inbox)
    Inbox.expect_exactly(range(100), inbox)
    early.check_against(inbox.received())
    late = send(producer, topic, range(100, 500))
    Inbox.expect_exactly(range(500), inbox)
    late.check_against([one for one in inbox.received() if one.number >= 100])
    return 500


def push_broadcasting(clients):
    topic = clients.unique('broadcasting')
    group = clients.unique('everyone')
    clients.create_topic(topic, 4)
    inboxes = [push_inbox(topic), push_inbox(topic)]
    for inbox in inboxes:
        clients.push_consumer(group, topic, inbox, model=MessageModel.BROADCASTING)
    send(clients.producer(), topic, range(200))
    for inbox in inboxes:
        Inbox.expect_exactly(range(200), inbox)
    return 400


def tags(clients):
    """AaAa and BBBB have one hash: the broker lets both through and the client must not."""
    names = ('red', 'green', 'blue', None, 'AaAa', 'BBBB')
    topic = clients.unique('tags')
    clients.create_topic(topic, 4)
    producer = clients.producer()
    for number in range(120):
        producer.send_sync(message(topic, names[number % 6], number))
    inboxes = {}
    for number, expression in enumerate(('*', 'red', 'red || blue', 'green||BBBB', 'AaAa', 'no-such-tag')):
        inboxes[expression] = Inbox(lambda one: verify(one, topic, names[one.number % 6]))
        clients.push_consumer(clients.unique('tag-%d' % number), topic, inboxes[expression], tags=expression)
    messages = 0
    for expression, inbox in inboxes.items():
        wanted = [tag.strip() for tag in expression.split('||')]
        numbers = [number for number in range(120) if expression == '*' or names[number % 6] in wanted]
        Inbox.expect_exactly(numbers, inbox)
        messages += len(numbers)
    return messages


def rebalance(clients):
    """Two consumers share four queues; when one leaves, the other takes over."""
    topic = clients.unique('shared')
    group = clients.unique('sharing')
    clients.create_topic(topic, 4)
    producer = clients.producer()
    inboxes = [push_inbox(topic), push_inbox(topic)]
    first = clients.push_consumer(group, topic, inboxes[0])
    send(producer, topic, range(40))
    Inbox.expect_exactly(range(40), inboxes[0])
    # The new owner of a queue reads the committed offset at once; a client commits by a timer.
    clients.await_committed(group, topic, 40)
    clients.push_consumer(group, topic, inboxes[1])
    sent = 40

    def shared():
        """The client does not tell which queues it holds; a message to each queue does."""
        nonlocal sent
        send(producer, topic, range(sent, sent + 4))
        probe, sent = set(range(sent, sent + 4)), sent + 4
        eventually(lambda: probe <= {one.number for inbox in inboxes for one in inbox.received()},
                   lambda: '%s of the probes' % probe)
        return all(len(probe & {one.number for one in inbox.received()}) == 2 for inbox in inboxes)

    eventually(shared, lambda: '2 queues each')
    send(producer, topic, range(sent, sent + 400))
    sent += 400
    Inbox.expect_exactly(range(sent), *inboxes)
    clients.await_committed(group, topic, sent)
    clients.stop(first)
    send(producer, topic, range(sent, sent + 100))
    sent += 100
    Inbox.expect_exactly(range(sent), *inboxes)
    return sent


def offsets_kept_push(clients):
    """Offsets outlive the consumer: the next one of the group goes on where the last stopped."""
    topic = clients.unique('kept')
    group = clients.unique('keeper')
    clients.create_topic(topic, 4)
    producer = clients.producer()
    send(producer, topic, range(100))
    for begin in (0, 100, 200):
        inbox = push_inbox(topic)
        consumer = clients.push_consumer(group, topic, inbox)
        Inbox.expect_exactly(range(begin, begin + 100), inbox)
        clients.await_committed(group, topic, begin + 100)
        clients.stop(consumer)
        send(producer, topic, range(begin + 100, begin + 200))
    clients.await_committed(group, topic, 300)
    return 300


def pull(clients):
    """The wrapper's pull goes through all queues to their ends, and keeps its offsets in memory."""
    topic = clients.unique('pull')
    clients.create_topic(topic, 4)
    producer = clients.producer()
    told = send(producer, topic, range(100))
    told.check_against(clients.read_topic(topic, 100))
    PullConsumer.offset_table.clear()
    consumer = clients.pull_consumer(clients.unique('puller'))
    read = [copy(one) for one in consumer.pull(topic, '*', 7)]
    told.check_against(read)
    for one in read:
        verify(one, topic, 'push')
    equal([], [one for one in consumer.pull(topic)], 'messages of the second pull')
    for number in range(100, 120):
        told.add(number, producer.send_sync(message(topic, 'push' if number % 2 else 'other', number)))
    eventually(lambda: len(read) >= 110 or read.extend(copy(one) for one in consumer.pull(topic, 'push')) or len(read) >= 110,
               lambda: '10 messages by tag, there are %d' % (len(read) - 100))
    equal(set(range(101, 120, 2)), {one.number for one in read[100:]}, 'messages by tag')
    return len(read)


def orderly(clients):
    """One message at a time, each queue in order."""
    topic = clients.unique('orderly')
    clients.create_topic(topic, 4)
    producer = clients.producer()
    for number in range(120):
        producer.send_orderly(message(topic, 'push', number), number % 7)
    last = {}

    def in_order(one):
        check(one.offset == last.get(one.queue_id, -1) + 1,
              'queue %d gave offset %d after %d' % (one.queue_id, one.offset, last.get(one.queue_id, -1)))
        last[one.queue_id] = one.offset
        verify(one, topic, 'push')

    inbox = Inbox(in_order)
    clients.push_consumer(clients.unique('in-order'), topic, inbox, orderly=True)
    Inbox.expect_exactly(range(120), inbox)
    return 120


def retry(clients):
    """A message whose callback raises comes again."""
    topic = clients.unique('retry')
    clients.create_topic(topic, 4)
    producer = clients.producer()
    failed_once = set()
    inbox = Inbox(lambda one: None)

    class Stubborn:
        @staticmethod
        def listen(message):
            number = int(message.get_property('number'))
            if number not in failed_once:
                failed_once.add(number)
                raise Failure('the first time')
            inbox.listen(message)

    clients.push_consumer(clients.unique('stubborn'), topic, Stubborn)
    send(producer, topic, range(5))
    Inbox.expect_exactly(range(5), inbox)
    return 5


def delay(clients):
    """Level 1 is one second."""
    topic = clients.unique('delay')
    clients.create_topic(topic, 4)
    producer = clients.producer()
    inbox = push_inbox(topic)
    clients.push_consumer(clients.unique('late'), topic, inbox)
    for number in range(10):
        late = message(topic, 'push', number)
        late.set_delay_time_level(1)
        equal(0, int(producer.send_sync(late).status), 'status of %d' % number)
    Inbox.expect_exactly(range(10), inbox)
    return 10
