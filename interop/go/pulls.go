package main

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// Each status that a pull can have, and a held pull that ends when a message comes.
func pullStatuses(c *clients) int {
	topic := c.unique("pull")
	c.createTopic(topic, 4)
	by := c.producer(producer.WithQueueSelector(producer.NewManualQueueSelector()))
	queues := c.queues(topic)
	queue := queues[1]
	send := func(number int, tag string) {
		one := message(topic, tag, number)
		one.Queue = queue
		_, err := by.SendSync(context.Background(), one)
		must(err)
	}
	tag := func(number int) string { return []string{"even", "odd"}[number%2] }
	for i := 0; i < 100; i++ {
		send(i, tag(i))
	}
	c.awaitStored(topic, queues, 100)
	all := c.pullConsumer(c.unique("puller"), topic, "*")
	messages := 0
	for _, wanted := range []int{1, 7, 32} {
		some, err := all.PullFrom(context.Background(), queue, 0, wanted)
		must(err)
		equal(primitive.PullFound, some.Status, "status")
		equal(wanted, len(some.GetMessageExts()), "messages of %d wanted", wanted)
		equal(int64(wanted), some.NextBeginOffset, "next offset")
		equal([]int64{0, 100}, []int64{some.MinOffset, some.MaxOffset}, "min and max offset")
		for i, one := range some.GetMessageExts() {
			equal(i, numberOf(one), "number at offset %d", i)
			checkMessage(one, topic, tag(i))
		}
		messages += wanted
	}

	odd := c.pullConsumer(c.unique("odd-puller"), topic, "odd")
	number := 1
	for at := int64(0); at < 100; {
		filtered, err := odd.PullFrom(context.Background(), queue, at, 32)
		must(err)
		equal(primitive.PullFound, filtered.Status, "status with a filter at %d", at)
		for _, one := range filtered.GetMessageExts() {
			equal(int64(number), one.QueueOffset, "offset of the odd message")
			checkMessage(one, topic, "odd")
			number += 2
			messages++
		}
		check(filtered.NextBeginOffset > at, "a filtered pull goes on")
		at = filtered.NextBeginOffset
	}
	equal(101, number, "odd messages")

	none := c.pullConsumer(c.unique("none-puller"), topic, "no-such-tag")
	unmatched, err := none.PullFrom(context.Background(), queue, 0, 32)
	must(err)
	equal(primitive.PullNoMsgMatched, unmatched.Status, "status when nothing matches")
	equal(int64(100), unmatched.NextBeginOffset, "next offset when nothing matches")

	beyond, err := all.PullFrom(context.Background(), queue, 1000, 32)
	must(err)
	equal(primitive.PullOffsetIllegal, beyond.Status, "status beyond the end")
	equal(int64(100), beyond.NextBeginOffset, "offset to go on with")

	// Held by the broker until the message comes; 20 s is what the client allows.
	waiting := make(chan *primitive.PullResult, 1)
	problem := make(chan error, 1)
	begin := time.Now()
	go func() {
		result, err := all.PullFrom(context.Background(), queue, 100, 32)
		if err != nil {
			problem <- err
			return
		}
		waiting <- result
	}()
	select {
	case early := <-waiting:
		fail("a pull at the end was answered at once, with status %d", early.Status)
	case err := <-problem:
		must(err)
	case <-time.After(time.Second):
	}
	send(100, "even")
	select {
	case woken := <-waiting:
		equal(primitive.PullFound, woken.Status, "status of the held pull")
		equal(1, len(woken.GetMessageExts()), "messages of the held pull")
		checkMessage(woken.GetMessageExts()[0], topic, "even")
	case err := <-problem:
		must(err)
	case <-time.After(10 * time.Second):
		fail("the held pull was not woken after %s", time.Since(begin))
	}
	return messages + 1
}

// Poll and ACK: the client pulls in the background and hands out what came.
func pullPoll(c *clients) int {
	topic := c.unique("poll")
	group := c.unique("poller")
	c.createTopic(topic, 4)
	by := c.producer()
	told := sendPush(by, topic, 0, 200)
	from := c.pullConsumer(group, topic, "*")
	var got []*primitive.MessageExt
	for end := time.Now().Add(patience); len(got) < 200 && time.Now().Before(end); {
		request, err := from.Poll(context.Background(), time.Second)
		if consumer.IsNoNewMsgError(err) {
			continue
		}
		must(err)
		for _, one := range request.GetMsgList() {
			checkMessage(one, topic, "push")
			got = append(got, one)
		}
		from.ACK(context.Background(), request, consumer.ConsumeSuccess)
	}
	told.checkAgainst(got)
	must(from.PersistOffset(context.Background(), topic))
	c.awaitCommitted(group, topic, 4, 200)
	_, err := from.Poll(context.Background(), time.Second)
	check(consumer.IsNoNewMsgError(err), "something more came: %v", err)
	return len(got)
}

// Offsets outlive the consumer: the next one of the group goes on where the last stopped.
func offsetsKeptPush(c *clients) int {
	topic := c.unique("kept")
	group := c.unique("keeper")
	c.createTopic(topic, 4)
	by := c.producer()
	sendPush(by, topic, 0, 100)
	for round := 0; round < 3; round++ {
		in := pushInbox(topic)
		one := c.pushConsumer(group, topic, "*", in)
		expectExactly(span(round*100, round*100+100), in)
		// A shutdown commits as well, but closes the connection over its own one-way request.
		commit(one)
		c.awaitCommitted(group, topic, 4, int64(round*100+100))
		must(one.Shutdown())
		sendPush(by, topic, round*100+100, round*100+200)
	}
	c.awaitCommitted(group, topic, 4, 300)
	return 300
}

// The pull consumer that goes by queue: what it sets is there for the next, and only for its group.
func offsetsKeptPull(c *clients) int {
	topic := c.unique("kept-pull")
	group := c.unique("pull-keeper")
	c.createTopic(topic, 1)
	by := c.producer()
	sendPush(by, topic, 0, 60)
	queue := c.queues(topic)[0]
	c.awaitStored(topic, []*primitive.MessageQueue{queue}, 60)
	messages := 0
	for at := int64(0); at < 60; at += 20 {
		one := c.pullConsumer(group, topic, "*")
		// Pull goes by the committed offset.
		pulled, err := one.Pull(context.Background(), 20)
		must(err)
		equal(primitive.PullFound, pulled.Status, "status at %d", at)
		equal(20, len(pulled.GetMessageExts()), "messages at %d", at)
		for i, found := range pulled.GetMessageExts() {
			equal(at+int64(i), found.QueueOffset, "queue offset")
			equal(int(at)+i, numberOf(found), "number at %d", found.QueueOffset)
			checkMessage(found, topic, "push")
			messages++
		}
		// The client writes only offsets of queues that its rebalance has given it, so this may take a moment.
		eventually(func() bool {
			must(one.UpdateOffset(queue, at+20))
			must(one.PersistOffset(context.Background(), topic))
			return c.committed(group, topic, queue.QueueId) == at+20
		}, func() string {
			return fmt.Sprintf("committed %d, is %d", at+20, c.committed(group, topic, queue.QueueId))
		})
		must(one.Shutdown())
	}
	// Java's broker says 0, not "none", while the queue still begins at 0.
	stranger := c.committed(c.unique("stranger"), topic, queue.QueueId)
	check(stranger <= 0, "offset %d of a group that never was", stranger)
	return messages
}
