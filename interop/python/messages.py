"""Messages that can be told apart and checked from their number alone, and what is known of those that came."""
import random
import threading
from collections import namedtuple

from rocketmq.client import Message

from check import Failure, check, equal, eventually, settle

# Beyond ASCII on purpose, four-byte characters included.
TEXT_PROPERTY = 'Grüße, 消息, 🚀'

# A message of the C++ core lives only as long as the callback that brought it, so its parts are copied.
Received = namedtuple('Received', 'number topic tags keys text body id queue_id offset reconsumed times')


def message(topic, tag, number, body=None):
    made = Message(topic)
    if tag:
        made.set_tags(tag)
    made.set_keys('key-%d other-%d' % (number, number))
    made.set_property('number', str(number))
    made.set_property('text', TEXT_PROPERTY)
    made.set_body(small_body(topic, number) if body is None else body)
    return made


def small_body(topic, number):
    return 'RaftMQ %s Nachricht ü %d' % (topic, number)


def large_body(number, size):
    """Compresses well (even numbers) or badly (odd ones). Text, for the client's bodies are C strings."""
    if number % 2 == 0:
        return chr(ord('a') + number % 26) * size
    return ''.join(random.Random(number).choices([chr(code) for code in range(33, 127)], k=size))


def copy(message):
    return Received(int(message.get_property('number')), message.topic, message.tags.decode(), message.keys.decode(),
                    message.get_property('text').decode(), message.body.decode(), message.id, message.queue_id,
                    message.queue_offset, message.reconsume_times,
                    message.born_timestamp > 0 and message.store_timestamp > 0)


def verify(received, topic, tag, body=None):
    """Everything that the producer put in must be there, and nothing of it changed."""
    number = received.number
    for what, expected, actual in (
            ('topic', topic, received.topic),
            ('tag', tag or '', received.tags),
            ('keys', 'key-%d other-%d' % (number, number), received.keys),
            ('property', TEXT_PROPERTY, received.text),
            ('reconsume times', 0, received.reconsumed),
            ('times', True, received.times)):
        equal(expected, actual, '%s of %d' % (what, number))
    if (small_body(topic, number) if body is None else body) != received.body:
        raise Failure('body of %d differs: %d characters came' % (number, len(received.body)))


class Receipts:
    """What sends were told, by number of the message."""

    def __init__(self):
        self.by_number = {}

    def add(self, number, result):
        equal(0, int(result.status), 'status of %d' % number)
        self.by_number[number] = result

    def check_against(self, read):
        """All that was sent was read, each under the id and at the queue offset that its send was told."""
        equal(sorted(self.by_number), sorted(one.number for one in read), 'numbers read')
        for one in read:
            told = self.by_number[one.number]
            equal(told.offset, one.offset, 'queue offset of %d' % one.number)
            equal(told.msg_id, one.id, 'id of %d' % one.number)


class Inbox:
    """Collects what a consumer is given, checks each message, and accounts for every delivery."""

    def __init__(self, verify_one):
        self._lock = threading.Lock()
        self._received = []
        self._problem = None
        self._verify = verify_one

    def listen(self, message):
        """A wrong message fails the scenario, not the consumption."""
        try:
            received = copy(message)
            with self._lock:
                self._received.append(received)
            self._verify(received)
        except Exception as problem:  # whatever it is, the scenario tells it
            self._problem = self._problem or problem

    def received(self):
        if self._problem:
            raise self._problem
        with self._lock:
            return list(self._received)

    @staticmethod
    def expect_exactly(numbers, *inboxes):
        """Waits until the inboxes together hold the numbers, then lets extras arrive: each once, none other."""
        numbers = set(numbers)

        def missing():
            return numbers - {one.number for inbox in inboxes for one in inbox.received()}

        eventually(lambda: not missing(),
                   lambda: '%d of %d messages never came: %s' % (len(missing()), len(numbers), sorted(missing())))
        settle()
        seen = set()
        for inbox in inboxes:
            for one in inbox.received():
                check(one.number in numbers, '%d was not expected here' % one.number)
                check(one.number not in seen, '%d was delivered twice' % one.number)
                seen.add(one.number)
