package main

import (
	"context"
	"fmt"
	"sort"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func (c *clients) queues(topic string) []*primitive.MessageQueue {
	queues, err := c.admin().FetchPublishMessageQueues(context.Background(), topic)
	must(err)
	sort.Slice(queues, func(a, b int) bool { return queues[a].QueueId < queues[b].QueueId })
	return queues
}

// extent is what a queue holds: from its min offset up to, but without, its max offset.
type extent struct{ min, max int64 }

func (c *clients) extents(topic string, queues []*primitive.MessageQueue) []extent {
	var found []extent
	for _, queue := range queues {
		min, err := c.offset(askMinOffset, topic, queue.QueueId, nil)
		must(err)
		max, err := c.offset(askMaxOffset, topic, queue.QueueId, nil)
		must(err)
		found = append(found, extent{min, max})
	}
	return found
}

// awaitStored waits until the queues hold count messages: Java's broker answers a send before its consume queue has the
// message.
func (c *clients) awaitStored(topic string, queues []*primitive.MessageQueue, count int) {
	stored := func() int64 {
		var stored int64
		for _, one := range c.extents(topic, queues) {
			stored += one.max - one.min
		}
		return stored
	}
	eventually(func() bool { return stored() >= int64(count) },
		func() string { return fmt.Sprintf("%d messages in %s, there are %d", count, topic, stored()) })
}

// readTopic waits until the topic holds count messages and reads them all, queue by queue in order of offset.
func (c *clients) readTopic(topic string, count int) []*primitive.MessageExt {
	queues := c.queues(topic)
	c.awaitStored(topic, queues, count)
	reader := c.pullConsumer(c.unique("reader"), topic, "*")
	extents := c.extents(topic, queues)
	var all []*primitive.MessageExt
	for i, queue := range queues {
		all = append(all, readQueue(reader, queue, extents[i])...)
	}
	equal(count, len(all), "messages in %s", topic)
	must(reader.Shutdown())
	return all
}

// readQueue reads from end to end; offsets must follow on one another.
func readQueue(reader rocketmq.PullConsumer, queue *primitive.MessageQueue, holds extent) []*primitive.MessageExt {
	var found []*primitive.MessageExt
	for at := holds.min; at < holds.max; {
		pulled, err := reader.PullFrom(context.Background(), queue, at, 32)
		must(err)
		equal(primitive.PullFound, pulled.Status, "status of the pull of queue %d at %d of %d", queue.QueueId, at, holds.max)
		for _, one := range pulled.GetMessageExts() {
			equal(at, one.QueueOffset, "queue offset in queue %d", queue.QueueId)
			found = append(found, one)
			at++
		}
		equal(at, pulled.NextBeginOffset, "next offset of queue %d", queue.QueueId)
	}
	return found
}
