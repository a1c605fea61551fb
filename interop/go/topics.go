package main

import (
	"context"
	"fmt"

	"github.com/apache/rocketmq-client-go/v2/admin"
)

// createTopic makes a topic on the master (request 17) and waits for its route.
func (c *clients) createTopic(topic string, queues int) {
	// The Go client wants the broker's address; the template topic leads to it.
	broker := c.master("TBW102")
	check(broker != "", "no route for TBW102")
	must(c.admin().CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(broker),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues)))
	eventually(func() bool { return c.master(topic) != "" }, func() string { return "a route for " + topic })
}

// Create, list, use, delete, list again; the same name is a new topic afterwards.
func adminTopics(c *clients) int {
	topic := c.unique("made")
	by := c.admin()
	listed := func() bool {
		list, err := by.FetchAllTopicList(context.Background())
		must(err)
		for _, name := range list.TopicList {
			if name == topic {
				return true
			}
		}
		return false
	}
	equal("", c.master(topic), "route before")
	check(!listed(), "%s is in the list before it was made", topic)
	messages := 0
	for round := 0; round < 2; round++ {
		c.createTopic(topic, 6)
		eventually(listed, func() string { return topic + " in the list" })
		queues, err := by.FetchPublishMessageQueues(context.Background(), topic)
		must(err)
		equal(6, len(queues), "queues to publish to")
		sender := c.producer()
		told := newReceipts()
		for i := 0; i < 36; i++ {
			result, err := sender.SendSync(context.Background(), message(topic, "", i))
			must(err)
			must(told.add(i, result))
		}
		must(sender.Shutdown())
		// Java's broker may crash when a topic goes that it still writes the consume queues of; once read, they are written.
		read := c.readTopic(topic, 36)
		told.checkAgainst(read)
		used := map[int]bool{}
		for _, one := range read {
			checkMessage(one, topic, "")
			used[one.Queue.QueueId] = true
		}
		equal(6, len(used), "queues in use")
		messages += len(read)
		must(by.DeleteTopic(context.Background(), admin.WithTopicDelete(topic), admin.WithBrokerAddrDelete(c.master(topic))))
		eventually(func() bool { return c.master(topic) == "" }, func() string { return "no route for " + topic })
		eventually(func() bool { return !listed() }, func() string { return topic + " gone from the list" })
	}
	groups, err := by.GetAllSubscriptionGroup(context.Background(), c.master("TBW102"), 5_000_000_000)
	must(err)
	check(len(groups.SubscriptionGroupTable) > 0, "no subscription groups: %s", fmt.Sprint(groups))
	return messages
}
