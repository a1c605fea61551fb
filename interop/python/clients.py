"""Makes the clients of one scenario, with names of its own, and shuts them down at its end."""
import itertools
import time

from rocketmq.client import Producer, PullConsumer, PushConsumer
from rocketmq.ffi import MessageModel

import wire
from check import eventually
from messages import copy

_instances = itertools.count(1)


class Clients:
    def __init__(self, namesrv, scenario):
        self.namesrv = namesrv
        self._suffix = '%s-%x' % (scenario, int(time.time() * 1000))
        self._running = []

    def unique(self, what):
        """A name for a topic or group that no earlier run used."""
        return '%s-%s' % (what, self._suffix)

    def producer(self):
        made = Producer(self.unique('producer-%d' % next(_instances)), timeout=20_000)
        return self._start(made)

    def push_consumer(self, group, topic, inbox, tags='*', orderly=False, model=MessageModel.CLUSTERING):
        made = PushConsumer(group, orderly=orderly, message_model=model)
        made.set_instance_name('interop-%d' % next(_instances))
        made.subscribe(topic, inbox.listen, tags)
        return self._start(made)

    def pull_consumer(self, group):
        return self._start(PullConsumer(group))

    def _start(self, client):
        client.set_namesrv_addr(self.namesrv)
        client.start()
        self._running.append(client)
        return client

    def stop(self, client):
        """A second shutdown is not harmless to the C++ core."""
        self._running.remove(client)
        client.shutdown()

    def close(self):
        while self._running:
            self._running.pop().shutdown()

    def create_topic(self, topic, queues):
        """The client cannot make topics, so the protocol does (request 17)."""
        wire.create_topic(self.namesrv, topic, queues)
        eventually(lambda: wire.master(self.namesrv, topic), lambda: 'a route for ' + topic)

    def read_topic(self, topic, count, tags='*'):
        """Every message of the topic, once it has `count`: Java's broker answers a send before its queues have it."""
        eventually(lambda: wire.stored(self.namesrv, topic) >= count,
                   lambda: '%d messages in %s, there are %d' % (count, topic, wire.stored(self.namesrv, topic)))
        # The wrapper keeps offsets for the class, so a consumer made later goes on where one before it stopped.
        PullConsumer.offset_table.clear()
        reader = self.pull_consumer(self.unique('reader'))
        return [copy(message) for message in reader.pull(topic, tags)]

    def await_committed(self, group, topic, total):
        """Commits are one-way requests by a timer, so the broker may be a moment behind."""
        eventually(lambda: wire.committed(self.namesrv, group, topic) == total,
                   lambda: 'committed offsets sum up to %d, are %d' % (total, wire.committed(self.namesrv, group, topic)))
